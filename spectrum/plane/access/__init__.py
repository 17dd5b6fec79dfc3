"""Access rules and GeoIP databases, as a worker asks them."""
