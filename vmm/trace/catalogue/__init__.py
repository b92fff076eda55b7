"""The entries of the catalogue of reasons, by subject; `vmm.trace.reasons` puts them together."""
