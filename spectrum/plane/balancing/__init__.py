"""Load balancing in a worker: balancers kept up to date, targets, drains."""
