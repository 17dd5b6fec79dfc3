"""Sources of configurations: the YAML file, its faults by line and column, and how changes are noticed."""
