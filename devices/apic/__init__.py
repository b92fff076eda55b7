"""The advanced interrupt controllers: the processor's local APIC and the 82093AA I/O APIC."""
