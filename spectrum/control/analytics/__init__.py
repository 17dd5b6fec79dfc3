"""Analytics in the daemon: what the API's process, which keeps the store, needs for it, and its status."""
