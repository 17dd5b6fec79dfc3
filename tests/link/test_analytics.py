import msgspec

from spectrum.core.analytics.packet_rows import SampledPacket
from spectrum.core.records.journal import Cursor, Extent
from spectrum.link.analytics import IntakeReport, JournalQuestion, JournalView


def test_both_go_as_json():
    question = JournalQuestion(report=IntakeReport(rows=3, failures={"full": 1}, failure="no room"), segment=4)
    assert msgspec.json.decode(msgspec.json.encode(question), type=JournalQuestion) == question
    packets = [SampledPacket(5, "list x", 100, b"\0\xff", 1000, True)]
    view = JournalView(extent=Extent((0, 9), Cursor(9, 100, 12)), packets=packets)
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(view)), JournalView) == view
