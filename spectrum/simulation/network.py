"""The two network namespaces of a trial, connected by a veth pair: the edge, and its clients.

It needs iproute2 and root. They are not connected to other networks.
"""

import contextlib
import ctypes
import os
import re
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path

from spectrum.kernel.filter.attaching import load
from spectrum.kernel.pins import DEFAULT_FILESYSTEM, PinError, folder_of, unload

# Addresses for benchmarks: RFC 2544 and RFC 5180. Configurations do not guard or block them.
EDGE_4, EDGE_6 = IPv4Interface("198.18.0.1/16"), IPv6Interface("2001:2::1/64")
CLIENTS_4 = [IPv4Interface(f"198.18.77.{number}/16") for number in range(1, 9)]
CLIENTS_6 = [IPv6Interface(f"2001:2::77:{number:x}/64") for number in range(1, 9)]
EDGE_LINK, CLIENT_LINK = "filtered", "wire"
_NAMESPACES = Path("/run/netns")
_CLIENTS = "-clients"
# A namespace is a file, and the clients' name is longer by the suffix: NAME_MAX of linux/limits.h.
_MAX_NAME = 255 - len(_CLIENTS)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of linux/sched.h
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


class TrialNetworkError(Exception):
    """A namespace cannot be created; the message has the reason."""


class TrialNetwork:
    """The namespaces of a trial; a context manager that removes them with all their contents.

    Args:
        name: The name of the edge's; the clients' has the suffix `-clients`.
        filesystem: A BPF file system.

    Raises:
        TrialNetworkError: If one with the name exists, none can be created, or the name is invalid.
    """

    def __init__(self, name: str, filesystem: Path = DEFAULT_FILESYSTEM) -> None:
        if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
            shown = name if len(name) <= 40 else f"{name[:40]}... ({len(name)} characters)"
            raise TrialNetworkError(
                f"no namespace is called {shown!r}: at most {_MAX_NAME} letters, digits, dots, - and _, "
                "of which - and a dot do not stand first"
            )
        self.edge, self.clients = name, name + _CLIENTS
        self._filesystem = filesystem
        self._made: list[str] = []
        for one in (self.edge, self.clients):
            if (_NAMESPACES / one).exists():
                raise TrialNetworkError(
                    f"a network namespace {one} is there already; a trial makes its own: name another"
                )
        try:
            for one in (self.edge, self.clients):
                _ip("netns", "add", one)
                self._made.append(one)
                _ip("-n", one, "link", "set", "lo", "up")
            self._lay_cable()
        except BaseException:
            self.remove()
            raise

    def _lay_cable(self) -> None:
        ends = (EDGE_LINK, "netns", self.edge, "type", "veth", "peer", CLIENT_LINK, "netns", self.clients)
        _ip("link", "add", *ends)
        for namespace, link, addresses in (
            (self.edge, EDGE_LINK, [EDGE_4, EDGE_6]),
            (self.clients, CLIENT_LINK, [*CLIENTS_4, *CLIENTS_6]),
        ):
            for address in addresses:
                at_once = ("nodad",) if address.version == 6 else ()
                _ip("-n", namespace, "address", "add", str(address), "dev", link, *at_once)
            _ip("-n", namespace, "link", "set", link, "up")
        # Frames that a program sends back (XDP_TX: SYN cookies) wake the other end of a veth pair only if that has a
        # program, too (veth_xdp_flush of linux/drivers/net/veth.c). A filter without rules lets everything pass.
        try:
            with entered(self.clients):
                load([CLIENT_LINK], self._filesystem)
        except PinError as exc:
            raise TrialNetworkError(f"the cable takes no program: {exc}") from exc
        # Answers to forged sources go back by the pair, and end there.
        _ip("-n", self.edge, "route", "add", "default", "via", str(CLIENTS_4[0].ip))
        _ip("-n", self.edge, "-6", "route", "add", "default", "via", str(CLIENTS_6[0].ip))

    def link_addresses(self) -> bytes:
        """Return the link addresses of a frame to the edge: the edge's, then the clients'."""
        found = b""
        for namespace, link in ((self.edge, EDGE_LINK), (self.clients, CLIENT_LINK)):
            with entered(namespace):
                found += link_address(link)
        return found

    def remove(self) -> None:
        """Remove the namespaces, and what daemons have pinned there.

        Pins stay without a process, and without their namespace: a later one with the same inode number would use them.
        """
        for one in self._made:
            with contextlib.suppress(PinError, TrialNetworkError), entered(one):
                unload(folder_of(self._filesystem))
        for one in self._made:
            with contextlib.suppress(TrialNetworkError):
                _ip("netns", "delete", one)
        self._made.clear()

    def __enter__(self) -> "TrialNetwork":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


@contextlib.contextmanager
def entered(namespace: str) -> Iterator[None]:
    """Return a context in which this thread, and processes that it starts, are in a network namespace.

    Raises:
        TrialNetworkError: If this process lacks the privilege, or there is no such namespace.
    """
    before = _opened(Path("/proc/thread-self/ns/net"))
    try:
        there = _opened(_NAMESPACES / namespace)
        try:
            _enter(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _enter(before)
    finally:
        os.close(before)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        raise TrialNetworkError(f"network namespace {path}: {(exc.strerror or str(exc)).lower()}") from exc


def link_address(link: str) -> bytes:
    """Return the link address of an interface in this thread's namespace, which /sys does not show.

    Raises:
        TrialNetworkError: If there is none.
    """
    for line in _ip("-o", "link", "show", "dev", link).splitlines():
        words = line.split()
        for kind in ("link/ether", "link/loopback"):
            if kind in words:
                return bytes.fromhex(words[words.index(kind) + 1].replace(":", ""))
    raise TrialNetworkError(f"interface {link} has no address of Ethernet")


def edge_addresses() -> tuple[IPv4Address, IPv6Address]:
    """Return the addresses of the edge of a trial."""
    return EDGE_4.ip, EDGE_6.ip


def _enter(descriptor: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(descriptor, _NEW_NETWORK) < 0:
        raise TrialNetworkError(f"a network namespace cannot be entered: {os.strerror(ctypes.get_errno()).lower()}")


def _ip(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["ip", *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            env=os.environ | {"PATH": _PATH},
        )
    except FileNotFoundError as exc:
        raise TrialNetworkError("a trial needs the command ip: apt-get install iproute2") from exc
    if done.returncode:
        raise TrialNetworkError(f"ip {' '.join(arguments)}: {done.stderr.strip().lower() or 'it failed'}")
    return done.stdout
