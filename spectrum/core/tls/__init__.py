"""TLS as it stands in the file, as workers run on it, and which certificate a client gets."""
