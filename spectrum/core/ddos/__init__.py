"""Detection of floods from samples of packets, and the rules that stop them. No I/O."""
