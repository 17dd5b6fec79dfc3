"""Access rules and GeoIP databases in a worker."""
