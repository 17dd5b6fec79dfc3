"""Detection of attacks in samples of packets."""
