"""The daemon's processes: life cycle of workers, hot restart, the service manager, the user."""
