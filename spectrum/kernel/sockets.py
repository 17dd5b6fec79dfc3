"""Listening sockets, descriptor limits and the machine's addresses."""

import errno
import os
import resource
import socket
import stat
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from spectrum.core.address import parse_address

# The kernel caps it at net.core.somaxconn.
BACKLOG = 65535
# The receive buffer of a UDP listener, for times when its worker is busy: the default of 208 KiB holds 90 full
# datagrams. Beyond net.core.rmem_max it needs CAP_NET_ADMIN.
RECEIVE_BUFFER_BYTES = 4 * 2**20
# linux/include/uapi/asm-generic/socket.h and linux/in.h; Python 3.11's socket module has no names for them.
SO_RCVBUFFORCE = 33
IP_PKTINFO = 8
IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75
IP_RECVORIGDSTADDR, IPV6_RECVORIGDSTADDR = 20, 74
# SD_LISTEN_FDS_START of sd-daemon.h.
FIRST_PASSED = 3


class ListenError(Exception):
    """A listening socket cannot be opened; the message has the address and the reason.

    Attributes:
        where: The address and port as text.
        reason: The reason, and a remedy; the same for all addresses with the same cause.
    """

    def __init__(self, where: str, reason: str = "") -> None:
        super().__init__(f"{where}: {reason}" if reason else where)
        self.where, self.reason = where, reason


def open_listeners(
    address: str,
    port: int,
    count: int,
    transport: str = "tcp",
    transparent: bool = False,
    beside: Sequence[socket.socket] = (),
) -> list[socket.socket]:
    """Return `count` non-blocking listening sockets that share one address and port (SO_REUSEPORT, socket(7)).

    The kernel distributes connections, or the datagrams of different clients, evenly by a hash of the client's address.
    Options of all sessions are set here, because accepted sockets inherit them: TCP_NODELAY.

    Args:
        address: An IPv4 or IPv6 address; empty for every address of both families.
        port: 1 to 65535; 0 for any, the same for all.
        count: 1 gives a socket without SO_REUSEPORT.
        transport: "tcp" or "udp".
        transparent: Receives packets from TPROXY rules or bindings, and answers from any address (ip(7),
            IP_TRANSPARENT).
        beside: Overlapping sockets of this process on the same port, such as one address beside the wildcard. If there
            are any, another process's listener is found only if it has no SO_REUSEPORT.

    Raises:
        ListenError: If the address is taken, not of this machine, or not permitted.
    """
    opened: list[socket.socket] = []
    try:
        if not beside:
            _probe(address, port, transport)
        with _sharing(beside):
            for _ in range(count):
                opened.append(_open(address, port, transport, count > 1 or bool(beside), transparent))
                port = port or opened[0].getsockname()[1]
    except OSError as exc:
        for sock in opened:
            sock.close()
        raise ListenError(_text(address, port), _explain(exc, transport)) from exc
    if count == 1 and beside:
        _share(opened[0], False)
    return opened


def may_listen(address: str, port: int, transport: str = "tcp", beside: Sequence[socket.socket] = ()) -> bool:
    """Check whether `open_listeners` would succeed now: permission, address family and port."""
    try:
        for sock in open_listeners(address, port, 1, transport, beside=beside):
            sock.close()
    except ListenError:
        return False
    return True


def may_bind(port: int) -> bool:
    """Return whether this process may listen on a port: low ones need CAP_NET_BIND_SERVICE (ip(7)).

    Whether the port is free is not checked; the kernel checks that later.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError as exc:
            return exc.errno != errno.EACCES
    return True


@contextmanager
def _sharing(sockets: Sequence[socket.socket]) -> Iterator[None]:
    """Return a context in which bound sockets share their port, so that others can be bound to it.

    The kernel compares the option at bind(2) and listen(2) only, regardless of when it was set
    (net/ipv4/inet_connection_sock.c, inet_csk_bind_conflict; net/ipv4/udp.c, udp_lib_lport_inuse).
    """
    changed = [sock for sock in sockets if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)]
    try:
        for sock in changed:
            _share(sock, True)
        yield
    finally:
        for sock in changed:
            _share(sock, False)


def _share(sock: socket.socket, share: bool) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, share)


def add_listener(address: str, port: int, transport: str = "tcp", transparent: bool = False) -> socket.socket:
    """Return one more socket for an address that this process has opened with SO_REUSEPORT.

    Raises:
        ListenError: If it cannot be opened.
    """
    try:
        return _open(address, port, transport, True, transparent)
    except OSError as exc:
        raise ListenError(_text(address, port), _explain(exc, transport)) from exc


def bind_unix(path: Path, mode: int) -> socket.socket:
    """Return a UNIX socket bound to a path; a socket that a dead process left there is replaced, nothing else.

    Args:
        path: The path, in an existing folder.
        mode: The permissions to connect.

    Raises:
        FileExistsError: If there is another kind of file.
        OSError: If it cannot be bound; EADDRINUSE if another process answers there.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "it exists and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            pass
        else:
            raise OSError(errno.EADDRINUSE, "another process answers there")
    with suppress(FileNotFoundError):
        path.unlink()
    sock = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o777 & ~mode)
    try:
        sock.bind(str(path))
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(mask)
    return sock


def passed_sockets(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the sockets that systemd passed to this process (sd_listen_fds(3)), once.

    Args:
        environment: Has LISTEN_PID and LISTEN_FDS, if any; they are removed, so that no child takes the sockets.
    """
    pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "0")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()):
        return []
    sockets = []
    for descriptor in range(FIRST_PASSED, FIRST_PASSED + int(count)):
        os.set_inheritable(descriptor, False)
        sockets.append(socket.socket(fileno=descriptor))
    return sockets


def adapt_listener(sock: socket.socket) -> tuple[str, int, str] | None:
    """Set Spectrum's options on a passed listening socket; return its address, port and transport.

    None if it is not a TCP or UDP socket that can be served. The address is as for `open_listeners`.
    """
    kinds = {socket.SOCK_STREAM: "tcp", socket.SOCK_DGRAM: "udp"}
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type not in kinds:
        return None
    transport = kinds[sock.type]
    if transport == "tcp" and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return None
    address, port = bound_address(sock)
    if address == "::" and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        address = ""
    if transport == "udp":
        _prepare_datagrams(sock, address)
    else:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    return address, port, transport


def keepalive_options(sock: socket.socket, idle_s: int, interval_s: int, count: int, user_timeout_ms: int) -> None:
    """Set keepalive and TCP_USER_TIMEOUT (tcp(7)) on a listening socket; accepted ones inherit them."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user_timeout_ms)


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open descriptors to the hard one, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def descriptor_limit() -> int:
    """Return the limit of open descriptors of this process."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def open_descriptors() -> int:
    """Return the number of open descriptors of this process; the limit if none is left to count them."""
    try:
        # Linux 6.2 and later have the number (proc(5)); a list of 10,000 takes ten milliseconds.
        return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))
    except OSError as exc:
        if exc.errno != errno.EMFILE:
            raise
        return descriptor_limit()


def local_addresses() -> frozenset[IPv4Address | IPv6Address]:
    """Return the addresses of this machine's interfaces (proc(5): fib_trie and if_inet6)."""
    return frozenset(_ipv4_addresses()) | frozenset(_ipv6_addresses())


def _ipv4_addresses() -> set[IPv4Address]:
    found, last = set(), ""
    for line in _lines("/proc/net/fib_trie"):
        if "|--" in line:
            last = line.split()[-1]
        elif "/32 host LOCAL" in line:
            found.add(IPv4Address(last))
    return found


def _ipv6_addresses() -> set[IPv6Address]:
    return {IPv6Address(bytes.fromhex(line.split()[0])) for line in _lines("/proc/net/if_inet6")}


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except FileNotFoundError:  # a kernel without that family
        return []


def _probe(address: str, port: int, transport: str) -> None:
    """Fail if another process listens: with SO_REUSEPORT a second daemon would share the port unnoticed."""
    probe = _socket(address, transport)
    with probe:
        probe.bind((address, port))


def _open(address: str, port: int, transport: str, share: bool, transparent: bool) -> socket.socket:
    sock = _socket(address, transport)
    try:
        if transparent:
            _intercept(sock, transport)
        if share:
            _share(sock, True)
        if transport == "udp":
            _prepare_datagrams(sock, address)
            sock.bind((address, port))
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.bind((address, port))
            sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _intercept(sock: socket.socket, transport: str) -> None:
    """Let a socket receive what TPROXY redirects; a UDP socket reports the destination of each datagram."""
    ipv4 = sock.family == socket.AF_INET
    level = socket.IPPROTO_IP if ipv4 else socket.IPPROTO_IPV6
    sock.setsockopt(level, IP_TRANSPARENT if ipv4 else IPV6_TRANSPARENT, 1)
    if transport == "udp":
        sock.setsockopt(level, IP_RECVORIGDSTADDR if ipv4 else IPV6_RECVORIGDSTADDR, 1)


def _prepare_datagrams(sock: socket.socket, address: str) -> None:
    """Enlarge the receive buffer, and let a wildcard socket report the destination of datagrams (ip(7), ipv6(7))."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    if is_wildcard(address):
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def bound_address(sock: socket.socket) -> tuple[str, int]:
    """Return the address, unmapped, and the port that a socket of an internet family is bound to."""
    address, port = sock.getsockname()[:2]
    return str(parse_address(address)), port


def is_wildcard(address: str) -> bool:
    """Return whether a socket bound to `address` receives for all addresses."""
    return not address or ip_address(address).is_unspecified


def _socket(address: str, transport: str) -> socket.socket:
    """Return a socket to be bound. The empty address is one socket for both families, IPv4 only if IPv6 is off."""
    family = socket.AF_INET if address and ":" not in address else socket.AF_INET6
    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
    try:
        sock = socket.socket(family, kind)
    except OSError as exc:
        if address or exc.errno != errno.EAFNOSUPPORT:
            raise
        sock = socket.socket(socket.AF_INET, kind)
    if transport == "tcp":  # for TCP it avoids the wait after a restart; on UDP it would let two daemons share a port
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, bool(address))
    return sock


def _text(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address or '*'}:{port}"


def _explain(exc: OSError, transport: str) -> str:
    match exc.errno:
        case errno.EADDRINUSE:
            return f"already in use by another process; `ss -ln{transport[0]}p` shows which"
        case errno.EADDRNOTAVAIL:
            return "not an address of this machine; `ip address` lists them"
        case errno.EPERM:
            return "TPROXY needs root or CAP_NET_RAW"
        case errno.EACCES:
            return "ports below 1024 need root or CAP_NET_BIND_SERVICE; use another port, or grant it"
        case errno.EMFILE | errno.ENFILE:
            return f"the limit of {descriptor_limit()} descriptors is reached; raise it (LimitNOFILE=, ulimit -n)"
        case _:
            return os.strerror(exc.errno or 0).lower()
