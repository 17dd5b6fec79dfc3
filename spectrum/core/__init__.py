"""What should happen, given facts and `now`? The objects and every decision; no I/O, no clock, no chance."""
