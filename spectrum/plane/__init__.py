"""Carry traffic: sockets, tasks, timers. The worker lives here."""
