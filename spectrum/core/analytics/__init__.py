"""Analytics of sessions: tables, rows from records, and queries. No I/O."""
