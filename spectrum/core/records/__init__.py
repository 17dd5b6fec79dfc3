"""What is told of sessions: events, reasons, refusals, measures."""
