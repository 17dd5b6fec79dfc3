"""The data path: sockets, tasks, timers, and the worker."""
