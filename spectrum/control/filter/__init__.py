"""The packet filter of the node: its programs, and samples of incoming packets."""
