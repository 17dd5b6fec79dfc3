"""Life cycles as tables of states, events and commands, without I/O."""
