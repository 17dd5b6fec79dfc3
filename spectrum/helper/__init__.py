"""The privileged helper: the one process that may change the kernel's programs and tables, and does nothing else."""
