"""Detection of floods from samples of packets, and the rules against them. No I/O."""
