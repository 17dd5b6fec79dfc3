"""What the supervisor and the API's process say to each other of the journal of records.

The API reads the journal by itself, from descriptors of its files that can only be read, and asks for the next one
where one is at its end. With each question comes how far it is, so nothing of this costs anything per record.
"""

import msgspec

from spectrum.core.analytics.packet_rows import SampledPacket
from spectrum.core.records.journal import Extent

PATH = "/analytics/journal"


class IntakeReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far the intake of records into the store is; counts are since it began.

    Attributes:
        intake: Which one it is: when it began, in nanoseconds since 1970.
        rows: Records that the store took.
        repeated: Records that came again, and were passed over.
        unreadable: Records that the store could make nothing of.
        lost: Records that were dropped from the journal before they were taken, or are damaged there.
        failures: Attempts that failed, by their reason.
        failure: Why the last attempt failed; empty while all is well.
        record: The number of the next record in the journal; -1 where that is not known yet.
        taken_us: When the latest one that was taken was journaled, in microseconds since 1970; 0 for none.
        size: Bytes that the store takes.
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
        report: How far it is.
        begins: It has not read anything yet.
        segment: The segment of which it wants a descriptor; None for none.
    """

    report: IntakeReport
    begins: bool = False
    segment: int | None = None


class JournalView(msgspec.Struct, frozen=True, kw_only=True):
    """To the API; the descriptor comes with it, where the segment is there.

    Attributes:
        node: The name of this machine.
        packets: Samples of packets since the last answer.
        extent: What the journal has; to one that begins, what it had when the daemon started, as long as nothing was
            reported since: what a crash cut off is not to be mistaken for what was appended later. None before it is
            open.
        why: Why it is not open; empty otherwise.
    """

    node: str = ""
    packets: list[SampledPacket] = []
    extent: Extent | None = None
    why: str = ""
