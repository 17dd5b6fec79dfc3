"""A worker as a process: its link to the supervisor, snapshots, reports, and shutdown."""
