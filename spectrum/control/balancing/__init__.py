"""Health of origins, decided in the supervisor, and explanations of balancing decisions."""
