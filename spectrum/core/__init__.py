"""The objects, and every decision as a function of facts and `now`: no I/O, no clock, no random numbers."""
