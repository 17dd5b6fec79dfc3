"""TLS in the file and in workers, and the choice of a certificate."""
