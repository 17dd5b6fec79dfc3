"""The supervisor's side of the control API: its process, its sockets, and the requests that it may make."""
