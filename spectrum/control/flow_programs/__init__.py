"""Flow programs of this node: read, compiled, kept for the next start, and given to the filter."""
