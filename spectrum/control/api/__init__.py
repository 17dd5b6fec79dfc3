"""The control API as the supervisor has it: its process, its sockets, and what it may ask."""
