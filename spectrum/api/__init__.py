"""The control API: Cloudflare's paths and shapes under /client/v4, in a process of its own beside the supervisor.

What it changes it has the supervisor roll out, and writes to the store. It carries no session, and imports nothing of
what does.
"""
