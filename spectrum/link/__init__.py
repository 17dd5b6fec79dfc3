"""What the daemon's processes say to each other: messages, descriptors, hand-over."""
