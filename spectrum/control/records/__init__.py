"""Records of sessions: the session log, the journal, and totals of the workers' counters."""
