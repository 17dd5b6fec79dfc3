"""A store with objects in it, and a process that stands for the API."""

import asyncio
import json
import os
import pwd
import sys
import time
from pathlib import Path

from spectrum.store.objects import ObjectChange, new_id
from spectrum.store.store import Store

STUB = [sys.executable, "-P", str(Path(__file__).with_name("stub.py"))]


def put(folder, objects):
    """Write objects, by section and name, into the store of a folder."""
    store = Store(folder)
    store.open(5)
    changes = [ObjectChange(key, new_id(), name, one) for key, some in objects.items() for name, one in some.items()]
    store.commit(changes, [], time.time())
    store.close()
    if os.geteuid() == 0:
        account = pwd.getpwnam("nobody")
        os.chown(folder, account.pw_uid, account.pw_gid)


async def talk(path, said):
    """Say something to the process behind a UNIX socket, and return its answer; None where it ends instead."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 26)
    try:
        writer.write(json.dumps(said).encode() + b"\n")
        line = await reader.readline()
        return json.loads(line) if line else None
    except ConnectionError:
        return None
    finally:
        writer.close()


def group(by="a test", **objects):
    """Return a group of changes: by section, names and values."""
    changes = [
        {"section": section, "name": name, "value": value}
        for section, some in objects.items()
        for name, value in some.items()
    ]
    return {"by": by, "objects": changes}
