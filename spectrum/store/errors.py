"""Errors of a store; each message names the file, and a remedy."""


class StoreError(Exception):
    """The store cannot be used, possibly only for now."""


class StoreFull(StoreError):
    """There is no room for a change; nothing of it was stored."""


class StoreInUse(StoreError):
    """Another process has opened it for writing."""


class StoreNewer(StoreError):
    """A later version of the program wrote it."""


class StoreCorrupt(StoreError):
    """It is damaged. Nothing was changed, so that data can still be rescued."""


class NameTaken(StoreError):
    """Two objects of a section would have one name."""
