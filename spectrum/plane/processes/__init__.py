"""A worker as a process: its link to the supervisor, what it serves, what it reports, and how it ends."""
