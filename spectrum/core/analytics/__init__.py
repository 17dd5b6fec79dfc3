"""What is kept of sessions for questions: the tables, how records become rows, and what may be asked. No I/O."""
