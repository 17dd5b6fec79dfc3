"""Load balancing, without I/O: health, and which origin a client goes to. Time, chance and measurements come in."""
