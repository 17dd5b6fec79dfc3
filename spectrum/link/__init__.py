"""Messages and descriptors between the daemon's processes."""
