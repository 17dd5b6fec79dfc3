"""Where configuration comes from: the YAML file, its faults by line and column, and when it changes."""
