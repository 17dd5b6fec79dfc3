"""Messages between the supervisor and the API's process about the journal of records.

The API reads the journal by itself, from read-only descriptors of its files, and asks for the next one at the end of a
file. Each question reports its progress, so there is no cost per record.
"""

import msgspec

from spectrum.core.analytics.packet_rows import SampledPacket
from spectrum.core.records.journal import Extent

PATH = "/analytics/journal"


class IntakeReport(msgspec.Struct, frozen=True, kw_only=True):
    """The progress of the intake of records into the store; counts are since it began.

    Attributes:
        intake: Its id: when it began, in nanoseconds since 1970.
        rows: Records that the store took.
        repeated: Repeated records, which were skipped.
        unreadable: Records that could not be decoded.
        lost: Records that were dropped from the journal before they were taken, or are damaged there.
        failures: Attempts that failed, by reason.
        failure: Why the last attempt failed; empty otherwise.
        record: The number of the next record in the journal; -1 if not known yet.
        taken_us: When the latest taken record was journaled, in microseconds since 1970; 0 for none.
        size: The size of the store in bytes.
    """

    intake: int = 0
    rows: int = 0
    repeated: int = 0
    unreadable: int = 0
    lost: int = 0
    failures: dict[str, int] = msgspec.field(default_factory=dict)
    failure: str = ""
    record: int = -1
    taken_us: int = 0
    size: int = 0


class JournalQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """From the API.

    Attributes:
        report: Its progress.
        begins: Whether it has not read anything yet.
        segment: The segment of which it needs a descriptor; None for none.
    """

    report: IntakeReport
    begins: bool = False
    segment: int | None = None


class JournalView(msgspec.Struct, frozen=True, kw_only=True):
    """To the API, with the descriptor, if the segment exists.

    Attributes:
        node: The name of this machine.
        packets: Samples of packets since the last answer.
        extent: The extent of the journal; for an intake that begins, that at the daemon's start, as long as nothing was
            reported since: records that a crash cut off must not be confused with later ones. None before it is open.
        why: Why the journal is not open; empty otherwise.
    """

    node: str = ""
    packets: list[SampledPacket] = []
    extent: Extent | None = None
    why: str = ""
