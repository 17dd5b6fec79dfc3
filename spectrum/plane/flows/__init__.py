"""UDP flows in a worker: the decision on new ones, their way to origins, what changes do to them, and their records."""
