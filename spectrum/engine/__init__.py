"""Move bytes between descriptors, in Cython. No policy."""
