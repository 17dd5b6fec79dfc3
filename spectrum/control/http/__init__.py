"""HTTP on the control socket and the metrics address: requests, status and metrics."""
