"""UDP flows in a worker: admission, origins, effects of reloads, and records."""
