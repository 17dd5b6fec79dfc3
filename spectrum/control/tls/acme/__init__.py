"""Certificates by ACME (RFC 8555): ordered, renewed and stored."""
