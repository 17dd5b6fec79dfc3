"""What apps, clients and the node take at once and per second."""
