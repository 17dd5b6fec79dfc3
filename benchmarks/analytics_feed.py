"""The feed of analytics: records of two workers, through the supervisor's stream and journal, into the embedded store.

Sessions are left out, as a small machine cannot open so many: two processes send the messages that workers send, at a
rate, over the sockets that workers have. What takes them is the supervisor's record stream, and the API's intake, each
in a process of its own.
"""

import asyncio
import os
import resource
import socket
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from benchmarks.rounds import Figures, Rows, work_folder
from spectrum.analytics.embedded import EmbeddedStore
from spectrum.api.analytics.intake import JournalIntake
from spectrum.control.records.log import LineWriter
from spectrum.control.records.stream import RecordStream
from spectrum.core.configuration.config import Config
from spectrum.core.records.events import SessionEvent
from spectrum.core.records.journal import Extent
from spectrum.link.analytics import JournalQuestion, JournalView
from spectrum.link.channel import Channel
from spectrum.link.takeover import Events
from spectrum.link.versions import Hello
from spectrum.tasks import Tasks

WORKERS = 2
# Of a message: what a busy worker sends at once.
RECORDS = 64
# What is left when the last record was sent is taken within this, or the measurement ends.
PATIENCE_S = 20.0
ROWS: Rows = {
    "feed_per_s": ("records of two workers sent, through the journal", "/s", False),
    "feed_taken_per_s": ("of these in the store when the last was sent", "/s", False),
    "feed_lag_s": ("until the store has all", "s", True),
    "feed_lost": ("lost", "", True),
    "feed_supervisor_us": ("a record, processor time: supervisor and journal", "µs", True),
    "feed_api_us": ("a record, processor time: intake and store", "µs", True),
}
_Spawn = get_context("spawn")


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _send(sock: socket.socket, source: str, lines: bytes, rate: float, seconds: float) -> None:
    """Be a worker: send records at a rate."""
    encode = msgspec.msgpack.Encoder().encode
    sock.send(encode(Hello()))
    began, count = time.monotonic(), 0
    while (now := time.monotonic() - began) < seconds:
        while count < now * rate:
            sock.send(encode(Events(RECORDS, lines, source, count + 1, has_sums=False)))
            count += RECORDS
        time.sleep(0.002)
    time.sleep(PATIENCE_S * 2)  # until it is ended: whose worker has gone is another test


def _supervise(folder: Path, socks: Sequence[socket.socket], asked: Connection) -> None:
    """Be a supervisor: take records, and tell what the journal has when asked."""
    journal = {"path": f"{folder}/journal", "max_bytes": "4GiB"}
    config = Config.model_validate({"log": {"sessions": False}, "records": {"journal": journal}})
    with open(os.devnull, "wb", buffering=0) as nowhere:
        stream = RecordStream(config, LineWriter(nowhere))
        uvloop.run(_take_records(stream, socks, asked))
        stream.close()


async def _take_records(stream: RecordStream, socks: Sequence[socket.socket], asked: Connection) -> None:
    taken = 0

    def take(message: Any, _: list[int]) -> None:
        nonlocal taken
        if isinstance(message, Events):
            taken += message.count
            stream.add(message)

    decoder = msgspec.msgpack.Decoder(Hello | Events)
    channels = [Channel(sock, decoder, take, lambda: None) for sock in socks]
    ended = asyncio.Event()

    def answer() -> None:
        if not asked.recv():
            ended.set()
            return
        journal = stream.journal
        extent = journal.segments.extent if journal is not None and journal.segments is not None else None
        asked.send((extent, taken, journal.lost if journal is not None else 0, _cpu_s()))

    asyncio.get_running_loop().add_reader(asked.fileno(), answer)
    await ended.wait()
    for channel in channels:
        channel.close()


class _Supervisor:
    """What the intake asks.

    Args:
        folder: Of the journal.
        asked: To the process.
    """

    def __init__(self, folder: Path, asked: Connection) -> None:
        self._folder = folder
        self._asked = asked
        self.taken = self.lost = 0
        self.cpu_s = 0.0

    def look(self) -> Extent | None:
        self._asked.send(True)
        extent, self.taken, self.lost, self.cpu_s = self._asked.recv()
        return extent

    async def ask(self, question: JournalQuestion) -> tuple[JournalView, int]:
        extent = self.look()
        if question.segment is None or extent is None:
            return JournalView(extent=extent), -1
        path = self._folder / "journal" / f"{question.segment:020}.journal"
        return JournalView(extent=extent), os.open(path, os.O_RDONLY) if path.exists() else -1


async def _take(folder: Path, asked: Connection, seconds: float) -> Figures:
    supervisor = _Supervisor(folder, asked)
    store = EmbeddedStore(folder / "store")
    intake = JournalIntake(lambda: store, supervisor.ask)
    tasks = Tasks()
    began, cpu = time.monotonic(), _cpu_s()
    supervisor.look()
    supervisor_cpu = supervisor.cpu_s
    running = tasks.start(intake.run(), "intake")
    await asyncio.sleep(seconds)
    supervisor.look()
    sent, taken, took = supervisor.taken, intake._rows, time.monotonic() - began
    while not running.done() and time.monotonic() < began + seconds + PATIENCE_S:
        supervisor.look()
        if intake._rows + supervisor.lost >= supervisor.taken > 0 and supervisor.taken >= sent:
            break
        await asyncio.sleep(0.05)
    lag, rows = time.monotonic() - began - took, max(intake._rows, 1)
    figures = {
        "feed_per_s": sent / took,
        "feed_taken_per_s": taken / took,
        "feed_lag_s": lag,
        "feed_lost": float(supervisor.lost + intake._lost),
        "feed_supervisor_us": (supervisor.cpu_s - supervisor_cpu) / max(supervisor.taken, 1) * 1e6,
        "feed_api_us": (_cpu_s() - cpu) / rows * 1e6,
    }
    await tasks.stop()
    return figures


def _intake(folder: Path, asked: Connection, seconds: float, told: Connection) -> None:
    told.send(uvloop.run(_take(folder, asked, seconds)))


def measure_feed(events: Sequence[SessionEvent], rate: float, seconds: float) -> Figures:
    """Return how many records a second come through.

    Args:
        events: Records to be sent, again and again.
        rate: How many a second, of both workers.
        seconds: For so long.
    """
    lines = msgspec.json.Encoder().encode_lines(events[:RECORDS])
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(WORKERS)]
    asked, answers = _Spawn.Pipe()
    told, tells = _Spawn.Pipe()
    with work_folder("feed") as folder:
        steps: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
            (_supervise, (folder, [theirs for theirs, _ in pairs], answers)),
            (_intake, (folder, asked, seconds, tells)),
            *(
                (_send, (own, f"{number}/66121c7704295", lines, rate / WORKERS, seconds))
                for number, (_, own) in enumerate(pairs)
            ),
        ]
        processes = [_Spawn.Process(target=target, args=given, daemon=True) for target, given in steps]
        for process in processes:
            process.start()
        try:
            if not told.poll(seconds + 5 * PATIENCE_S):
                raise RuntimeError("the intake has not ended")
            figures: Figures = told.recv()
            return figures
        finally:
            for process in processes:
                process.kill()
                process.join()
