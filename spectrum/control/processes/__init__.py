"""The daemon's processes: workers from start to end, hot restart, the service manager, the user."""
