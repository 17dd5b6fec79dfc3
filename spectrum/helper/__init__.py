"""The privileged helper: the only process that may change eBPF programs and their tables, without other tasks."""
