"""How do bytes move fast between descriptors? Cython, no policy."""
