"""Keeps what is known of sessions for questions: an embedded store, or a server's."""
