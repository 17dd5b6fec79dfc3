"""Descriptors: close several, make memory files, and open 0, 1 and 2 if the process was started without them."""

import os
import sys
from collections.abc import Iterable


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)


def memory_file(name: str, data: bytes) -> int:
    """Return a descriptor of a memory file with `data` (memfd_create(2)); the caller closes it."""
    descriptor = os.memfd_create(f"spectrum-{name}", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
    return descriptor


def open_standard() -> None:
    """Open /dev/null in place of standard input, output and error where they are closed, as daemon(3) does.

    Otherwise the next files and sockets that are opened get these numbers: messages would be written into them, and
    libuv aborts when it closes one.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    # Python has no file objects for descriptors that were closed at its start.
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
