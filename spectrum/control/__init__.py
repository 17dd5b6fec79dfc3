"""Loading, checking, applying and showing configurations, and the supervisor."""
