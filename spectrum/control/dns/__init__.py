"""DNS names of apps, published at a server that takes dynamic updates."""
