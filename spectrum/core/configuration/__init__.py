"""The objects of the file: fields, faults, checks, presets, and what a change of them takes."""
