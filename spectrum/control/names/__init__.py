"""Addresses of origins' names: how and when they are looked up."""
