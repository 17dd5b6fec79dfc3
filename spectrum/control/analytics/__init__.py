"""Analytics in the daemon: what the API's process, which keeps the store, needs of it, and what one sees of that."""
