"""The soak's origins and clients: they echo, and check every byte by its hash."""

import asyncio
import hashlib
import os
import random
import ssl
import struct
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

SIZES = [0, 1, 100, 4096, 65_537, 300_000, 1_000_000]
# A stall longer than this is a loss.
TIMEOUT_S = 10.0
DATAGRAM_TIMEOUT_S = 2.0


@dataclass
class Tally:
    """What clients did and met.

    Attributes:
        done: By kind, what was sent and came back whole.
        lost: (monotonic time of its begin, and of its end, kind, why) of everything else.
    """

    done: Counter[str] = field(default_factory=Counter)
    bytes_checked: int = 0
    lost: list[tuple[float, float, str, str]] = field(default_factory=list)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with what comes, to the end of it."""
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    writer.close()


class EchoDatagrams(asyncio.DatagramProtocol):
    """Answers datagrams with themselves."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


class FlappingOrigin:
    """A TCP origin whose listener goes and comes; its sessions stay."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(echo, "127.0.0.1", self._port, backlog=1000)

    def close(self) -> None:
        """Refuse what comes from now on."""
        if self._server is not None:
            self._server.close()
            self._server = None


class NamedOrigin:
    """An origin that says its name before it echoes, so that a client sees whose it is.

    Args:
        name: A byte.
        port: Where it listens; of all loopback addresses.
    """

    def __init__(self, name: bytes, port: int) -> None:
        self._name, self._port = name, port

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._greet, "127.0.0.1", self._port, backlog=1000)

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._name)
        await echo(reader, writer)

    def close(self) -> None:
        """Listen no more."""
        self._server.close()


# Of RFC 1035, 4.1.1.
CODES = {"nxdomain": 3, "servfail": 2}


class NameServer(asyncio.DatagramProtocol):
    """Answers for one name with 127.0.0.1, for a second (RFC 1035); for others never.

    Attributes:
        mood: "answer", "silent", "nxdomain" or "servfail", for the name that it knows.
    """

    NAME = "origin.soak.test"

    def __init__(self) -> None:
        self.mood = "answer"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        end = data.index(b"\0", 12) + 5
        question = data[12:end]
        asked = b"".join(b"%c%s" % (len(label), label.encode()) for label in self.NAME.split(".")) + b"\0"
        if not question.lower().startswith(asked) or self.mood == "silent":
            return
        has_address = self.mood == "answer" and question[-4:] == struct.pack("!HH", 1, 1)
        header = data[:2] + struct.pack("!HHHHH", 0x8180 | CODES.get(self.mood, 0), 1, has_address, 0, 0)
        answer = struct.pack("!HHHIH", 0xC00C, 1, 1, 1, 4) + bytes((127, 0, 0, 1)) if has_address else b""
        self._transport.sendto(header + question + answer, addr)


def client_hello(name: str) -> bytes:
    """Return what a TLS client sends first, with a server name or, where it is empty, without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name or None).do_handshake()
    return outgoing.read()


class _Replies(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.queue.put_nowait(data)


class Clients:
    """Clients that come again and again until they are stopped.

    Args:
        tally: Where they count.
        seed: Of sizes and pauses.
    """

    def __init__(self, tally: Tally, seed: int) -> None:
        self.stopped = False
        self._tally = tally
        self._random = random.Random(seed)

    async def sessions(self, port: int) -> None:
        """Send a random amount, end that half, and read it back."""
        while not self.stopped:
            data = self._random.randbytes(self._random.choice(SIZES))
            await self._count("session", self._session(port, data), len(data))

    async def named_sessions(self, port: int, origins: dict[str, bytes]) -> None:
        """Ask for names on a shared port, and see that their own origins answer; "" asks for none."""
        hellos = {name: client_hello(name) for name in origins}
        while not self.stopped:
            name = self._random.choice(list(origins))
            data = hellos[name] + self._random.randbytes(self._random.choice(SIZES[:4]))
            await self._count("named session", self._session(port, data, origins[name]), len(data))
            await asyncio.sleep(0.01)

    async def _session(self, port: int, data: bytes, before: bytes = b"") -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:

            async def send() -> None:
                for start in range(0, len(data), 65536):
                    writer.write(data[start : start + 65536])
                    await writer.drain()
                writer.write_eof()

            async def receive() -> str:
                digest = hashlib.sha256()
                while part := await reader.read(65536):
                    digest.update(part)
                return digest.hexdigest()

            _, received = await asyncio.gather(send(), receive())
            assert received == hashlib.sha256(before + data).hexdigest(), "other bytes, or fewer"
        except (OSError, AssertionError) as exc:
            exc.add_note(f"from port {writer.get_extra_info('sockname')[1]}")  # as the session's record has it
            raise
        finally:
            writer.close()

    async def flow(self, port: int, lasting: bool) -> None:
        """Ask and be answered, on one flow for ever or on a new one each time."""
        loop = asyncio.get_running_loop()
        transport = None
        while not self.stopped:
            if transport is None or not lasting:
                if transport is not None:
                    transport.close()
                transport, replies = await loop.create_datagram_endpoint(_Replies, remote_addr=("127.0.0.1", port))
            data = os.urandom(self._random.randrange(8, 1200))
            await self._count("lasting flow" if lasting else "new flow", self._ask(transport, replies, data), len(data))
            await asyncio.sleep(0.005)
        if transport is not None:
            transport.close()

    async def _ask(self, transport: asyncio.DatagramTransport, replies: _Replies, data: bytes) -> None:
        transport.sendto(data)
        async with asyncio.timeout(DATAGRAM_TIMEOUT_S):
            while await replies.queue.get() != data:  # a late one, counted as lost before
                pass

    async def _count(self, kind: str, work, size: int) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await work
        except (OSError, AssertionError, TimeoutError) as exc:
            why = " ".join((f"{type(exc).__name__}: {exc}", *getattr(exc, "__notes__", ())))
            self._tally.lost.append((began, time.monotonic(), kind, why))
        else:
            self._tally.done[kind] += 1
            self._tally.bytes_checked += 2 * size
