"""Network and mount namespaces for one process of a parallel test run: its ports, names and pins are nobody else's.

network_namespaces(7), mount_namespaces(7). The folders that get a file system of their own are those whose paths the
product or `ip netns` fixes.
"""

import ctypes
import os
import subprocess
from pathlib import Path

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
OWN_FOLDERS = {"/run/netns": "tmpfs", "/run/spectrum": "tmpfs", "/sys/fs/bpf": "bpf"}
# Some tests look up a route to an address elsewhere; nothing that they send has to arrive.
LINKS = (("link", "set", "lo", "up"), ("route", "add", "default", "dev", "lo"))


def isolate() -> None:
    """Move the calling thread, and what it starts from now on, into new namespaces.

    Raises:
        OSError: If they cannot be had; it takes root.
        subprocess.CalledProcessError: If they cannot be furnished.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET | CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    _run("mount", "--make-rprivate", "/")
    for folder, kind in OWN_FOLDERS.items():
        Path(folder).mkdir(exist_ok=True)
        _run("mount", "-t", kind, "-o", "mode=755", kind, folder)
    for link in LINKS:
        _run("ip", *link)


def _run(*command: str) -> None:
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    subprocess.run(command, check=True, env=os.environ | {"PATH": path})
