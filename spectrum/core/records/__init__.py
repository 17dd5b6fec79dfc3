"""Records of sessions: events, reasons, refusals, measures."""
