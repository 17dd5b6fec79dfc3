"""Interfaces of the Linux kernel: socket options, limits, addresses, eBPF. No policy."""
