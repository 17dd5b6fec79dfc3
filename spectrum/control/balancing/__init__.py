"""Health of origins, decided in the supervisor, and why a client would go where it goes."""
