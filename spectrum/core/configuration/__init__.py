"""The objects of the file: fields, faults, checks, presets, and the effects of changes."""
