from hypothesis import given
from hypothesis import strategies as st

from spectrum.link.takeover import Events
from spectrum.plane import outbox as outbox_module
from spectrum.plane.outbox import EVENT_BYTES, Outbox


def test_batches_are_sent_together_and_numbered():
    outbox = Outbox("3/5f")
    assert not outbox
    for lines in (b"a\nb\n", b"c\n", b"x" * EVENT_BYTES, b"d\n"):
        outbox.add(lines.count(b"\n") or 1, lines)
    sent = []
    while outbox:
        sent.append(outbox.take())
        outbox.done(sent[-1], True)
    assert sent == [
        Events(3, b"a\nb\nc\n", "3/5f", 1),
        Events(1, b"x" * EVENT_BYTES, "3/5f", 4),
        Events(1, b"d\n", "3/5f", 5),
    ]
    assert (outbox.size, outbox.take_dropped()) == (0, 0)


def test_a_message_without_sums_says_so():
    outbox = Outbox("5f")
    for lines, has_sums in ((b"a\n", False), (b"x" * EVENT_BYTES, False), (b"b\n", False), (b"c\n", True)):
        outbox.add(1, lines, has_sums)
    messages = []
    outbox.has_journal = True
    while outbox:
        messages.append(outbox.take())
        outbox.done(messages[-1], True)
    assert [message.has_sums for message in messages] == [False, False, True]
    outbox.put_back([])
    assert outbox.take().has_sums is False


def test_what_is_dropped_leaves_a_gap():
    outbox = Outbox("0/5f")
    outbox.add(2, b"a\nb\n")
    outbox.done(outbox.take(), False)
    outbox.add(1, b"c\n")
    assert outbox.take() == Events(1, b"c\n", "0/5f", 3)
    assert (outbox.take_dropped(), outbox.take_dropped()) == (2, 0)


def test_what_is_sent_is_kept_until_the_journal_has_it():
    outbox = Outbox("0/5f")

    def send(lines):
        outbox.add(1, lines)
        message = outbox.take()
        outbox.done(message, True)
        return message

    send(b"a\n")  # nobody said that there is a journal
    outbox.has_journal = True
    for lines in (b"b\n", b"c\n", b"d\n"):
        last = send(lines)
    outbox.kept(3)
    outbox.add(1, b"e\n")
    outbox.put_back([last])  # it never left
    assert outbox.take() == Events(1, b"c\n", "0/5f", 3, True)
    outbox.done(outbox.take(), True)
    assert outbox.take() == Events(2, b"d\ne\n", "0/5f", 4, False)
    outbox.done(outbox.take(), True)
    outbox.kept(4)
    outbox.put_back([])  # another one is gone, too
    assert outbox.take() == Events(2, b"d\ne\n", "0/5f", 4, True)
    assert outbox.take_dropped() == 0


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(outbox_module, "MAX_WAITING_BYTES", 5)
    outbox = Outbox("0/5f")
    outbox.has_journal = True
    for lines in (b"a\n", b"b\n", b"c\n"):
        outbox.add(1, lines)
        outbox.done(outbox.take(), True)
    outbox.put_back([])
    assert (outbox.take().lines, outbox.size, outbox.dropped) == (b"b\nc\n", 4, 0)


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["send", "keep", "drop", "return"])), max_size=30))
def test_order_and_numbers_are_kept_whatever_is_returned(steps):
    """As a supervisor that is gone leaves messages, what waited to be sent comes back in front."""
    outbox, unsent, sent, missing, number = Outbox("0/5f"), [], [], 0, 0
    for count, fate in steps:
        lines = b"".join(b"%d\n" % (number + i + 1) for i in range(count))
        outbox.add(count, lines)
        number += count
        if fate == "return":
            outbox.put_back(unsent)
            unsent = []
        elif fate != "keep":
            message = outbox.take()
            outbox.done(message, fate == "send")
            if fate == "send":
                unsent.append(message)
            else:
                missing += message.count
    outbox.put_back(unsent)
    while outbox:
        message = outbox.take()
        assert message.first == int(message.lines.split(b"\n", 1)[0])
        assert message.lines.count(b"\n") == message.count
        outbox.done(message, True)
        sent += [int(line) for line in message.lines.split()]
    assert outbox.size == 0
    assert sent == sorted(sent) and len(sent) == len(set(sent))
    assert len(sent) + missing == number and outbox.take_dropped() == missing
