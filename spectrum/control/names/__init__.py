"""The addresses of origins' names: when they are looked up, and how."""
