"""Load balancing without I/O: health and the choice of an origin. Time, chance and measurements are arguments."""
