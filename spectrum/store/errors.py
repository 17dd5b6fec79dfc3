"""What goes wrong with a store; each message says where, and what helps."""


class StoreError(Exception):
    """The store cannot be used, or not now."""


class StoreFull(StoreError):
    """There is no room for a change; nothing of it was kept."""


class StoreInUse(StoreError):
    """Another process writes to it."""


class StoreNewer(StoreError):
    """A later version of the program wrote it."""


class StoreCorrupt(StoreError):
    """It is damaged. Nothing was changed: whatever can be saved is in it still."""


class NameTaken(StoreError):
    """Two objects of a section would have one name."""
