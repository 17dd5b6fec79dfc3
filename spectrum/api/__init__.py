"""The control API: Cloudflare's paths and shapes under /client/v4, in its own process beside the supervisor.

The supervisor rolls out each change, then the store keeps it. This process carries no session, and imports no module
that does.
"""
