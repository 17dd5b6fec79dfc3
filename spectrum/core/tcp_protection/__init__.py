"""Advanced TCP protection: SYNs and packets without a connection are challenged or dropped."""
