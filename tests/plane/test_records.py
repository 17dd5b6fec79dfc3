from datetime import UTC, datetime

import msgspec

from spectrum.core.records.events import SessionEvent
from spectrum.core.records.refusals import RefusalKind
from spectrum.link.channel import MAX_PACKET_BYTES
from spectrum.plane.outbox import EVENT_BYTES
from spectrum.plane.records import Records

NOW = datetime(2026, 1, 1, tzinfo=UTC)
# As long as they come: the longest name of an app, IPv6 addresses, large numbers.
ADDRESS = "2001:db8:1111:2222:3333:4444:5555:6666"
BIG = 2**63
EVENT = SessionEvent(
    Event="originError",
    Status=521,
    Reason="client_unreachable",
    Application="x" * 63,
    Timestamp=NOW,
    ConnectTimestamp=NOW,
    DisconnectTimestamp=NOW,
    ClientIP=ADDRESS,
    ClientPort=65535,
    ClientBytes=BIG,
    ClientTcpRtt=BIG,
    OriginIP=ADDRESS,
    OriginPort=65535,
    OriginBytes=BIG,
    OriginTcpRtt=BIG,
    ProxyProtocol="simple",
    ConnectDuration=BIG,
    ClientDatagrams=BIG,
    OriginDatagrams=BIG,
)


def test_thousands_at_once_fit_the_packets():
    portions = []
    records = Records(lambda *portion: portions.append(portion))
    records.add([EVENT] * 5000)
    assert sum(portion[0] for portion in portions) == 5000
    # A worker collects until EVENT_BYTES are reached, so a packet may hold that and a portion.
    assert max(len(lines) for _, lines, _ in portions) + EVENT_BYTES < MAX_PACKET_BYTES * 2
    lines = b"".join(lines for _, lines, _ in portions).splitlines()
    assert [msgspec.json.decode(line, type=SessionEvent) for line in lines] == [EVENT] * 5000


def test_nothing_is_handed_on_for_nothing():
    records = Records(lambda *_: 1 // 0)
    assert records.wanted
    records.add([])


def test_many_refusals_of_a_client_are_summed():
    portions, events = [], []
    records = Records(lambda *portion: portions.append(portion))
    for _ in range(1000):
        records.refused(RefusalKind("x", 1, ""), b"\x7f\0\0\1", lambda: msgspec.structs.replace(EVENT), events)
    assert 0 < len(events) < 1000
    assert portions == []
    records.flush()
    assert sum(portion[0] for portion in portions) == 1
    records.hand_on(2, b"{}\n{}\n")
    assert portions[0][2]  # may be a sum
    assert portions[-1] == (2, b"{}\n{}\n", False)
