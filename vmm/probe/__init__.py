"""The probe: what each privileged and sensitive instruction really does at each privilege level."""
