"""Drop privileges: change the user, or stay root, with only the required capabilities (capabilities(7))."""

import ctypes
import os
import pwd
import struct
from collections.abc import Collection
from pathlib import Path

# linux/include/uapi/linux/capability.h: for ports below 1024; for pings and clients' source addresses.
CAP_NET_BIND_SERVICE, CAP_NET_RAW = 10, 13
KEPT = (CAP_NET_BIND_SERVICE, CAP_NET_RAW)
# For the helper: to load and attach eBPF programs, and to enlarge socket buffers. The verifier accepts the filter's
# arithmetic on packet pointers with CAP_PERFMON only.
CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF = 12, 38, 39

_CAPABILITY_VERSION_3 = 0x20080522
_WORD_BITS = 32
_CAP_SETPCAP = 8
# linux/include/uapi/linux/prctl.h
_SET_DUMPABLE, _SET_KEEPCAPS, _DROP_BOUNDING = 4, 8, 24
_SET_NO_NEW_PRIVS, _AMBIENT, _AMBIENT_RAISE, _AMBIENT_CLEAR = 38, 47, 2, 4

_libc = ctypes.CDLL(None, use_errno=True)


def become(user: pwd.struct_passwd) -> None:
    """Change to a user irrevocably, with that user's groups, and keep `KEPT` across exec.

    Child processes have no more than that. Other threads lose all capabilities: call it before starting any.

    Args:
        user: Its entry in the password database.

    Raises:
        OSError: If this process is not root, or not permitted to.
    """
    _bound(KEPT)
    _prctl(_SET_KEEPCAPS, 1)
    os.initgroups(user.pw_name, user.pw_gid)
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    _set_capabilities(KEPT, KEPT)
    for capability in KEPT:
        _prctl(_AMBIENT, _AMBIENT_RAISE, capability)
    _prctl(_SET_NO_NEW_PRIVS, 1)
    # Otherwise a process that has changed its user cannot read its own /proc/self/fd (proc(5)).
    _prctl(_SET_DUMPABLE, 1)


def confine(capabilities: Collection[int]) -> None:
    """Drop all other capabilities irrevocably, and stay the same user; child programs have none.

    Capabilities that this process lacks are not gained.

    Raises:
        OSError: If the kernel refuses.
    """
    permitted = _permitted()
    kept = [capability for capability in capabilities if permitted & 1 << capability]
    if permitted & 1 << _CAP_SETPCAP:
        _bound(kept)
    _prctl(_AMBIENT, _AMBIENT_CLEAR)
    _set_capabilities(kept, ())
    _prctl(_SET_NO_NEW_PRIVS, 1)


def _permitted() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    return int(status.partition("\nCapPrm:")[2].split()[0], 16)


def _bound(capabilities: Collection[int]) -> None:
    for capability in range(_last_capability() + 1):
        if capability not in capabilities:
            _prctl(_DROP_BOUNDING, capability)


def _last_capability() -> int:
    return int(Path("/proc/sys/kernel/cap_last_cap").read_bytes())


def _prctl(option: int, *arguments: int) -> None:
    """Call prctl(2) with all five arguments: the kernel refuses some options if unused ones are not zero."""
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    if _libc.prctl(option, *padded) != 0:
        raise _failure()


def _set_capabilities(kept: Collection[int], inherited: Collection[int]) -> None:
    """Set the permitted and effective, and the inheritable capabilities (capset(2))."""
    permitted, inheritable = (sum(1 << capability for capability in some) for some in (kept, inherited))
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    words = [mask >> shift & 0xFFFFFFFF for shift in (0, _WORD_BITS) for mask in (permitted, permitted, inheritable)]
    if _libc.capset(header, struct.pack("=6I", *words)) != 0:
        raise _failure()


def _failure() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
