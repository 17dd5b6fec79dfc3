"""Advanced TCP protection: what of SYNs and of packets without a connection is challenged or dropped."""
