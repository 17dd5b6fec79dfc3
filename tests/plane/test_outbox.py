import random
from math import sqrt

import msgspec
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
        outbox.done(sent[-1])
    assert sent == [
        Events(3, b"a\nb\nc\n", "3/5f", 1),
        Events(1, b"x" * EVENT_BYTES, "3/5f", 4),
        Events(1, b"d\n", "3/5f", 5),
    ]
    assert (outbox.size, outbox.take_omitted()) == (0, 0)


def test_a_message_without_sums_says_so():
    outbox = Outbox("5f")
    for lines, has_sums in ((b"a\n", False), (b"x" * EVENT_BYTES, False), (b"b\n", False), (b"c\n", True)):
        outbox.add(1, lines, has_sums)
    messages = []
    outbox.has_journal = True
    while outbox:
        messages.append(outbox.take())
        outbox.done(messages[-1])
    assert [message.has_sums for message in messages] == [False, False, True]
    outbox.put_back([])
    assert outbox.take().has_sums is False


def record(number):
    return b'{"Text":"%b","Bytes":%d}\n' % (b"x" * 200, number)


def emptied(outbox):
    messages = []
    while outbox:
        messages.append(outbox.take())
        outbox.done(messages[-1])
    return messages


def weights(messages):
    records = [msgspec.json.decode(line) for message in messages for line in message.lines.splitlines()]
    return [(one.get("SampledOneIn", 1), one["Bytes"]) for one in records]


def test_what_is_too_much_is_sampled(monkeypatch):
    """Sums stay right within the bound that is stated, and nothing is sampled once all has been taken."""
    monkeypatch.setattr(outbox_module, "MAX_WAITING_BYTES", 256 * 1024)
    outbox = Outbox("0/5f")
    numbers = [random.randrange(1000, 10_000) for _ in range(20_000)]
    for at in range(0, len(numbers), 10):
        outbox.add(10, b"".join(map(record, numbers[at : at + 10])))
        assert outbox.size <= 256 * 1024
    messages = emptied(outbox)
    kept = weights(messages)
    factor = max(weight for weight, _ in kept)
    assert factor in (16, 32)  # some 1,000 records fit
    # One of each N is kept, but where N changed.
    assert abs(sum(weight for weight, _ in kept) - len(numbers)) <= 2 * factor
    deviation = sqrt(sum(weight * (weight - 1) * moved**2 for weight, moved in kept))
    assert abs(sum(weight * moved for weight, moved in kept) - sum(numbers)) < 4 * deviation
    assert outbox.take_omitted() == len(numbers) - len(kept)
    assert outbox.take_omitted() == outbox.size == 0
    ends = [message.first + message.count for message in messages]
    assert all(end <= message.first for end, message in zip(ends, messages[1:], strict=False))
    assert ends[-1] <= len(numbers) + 1
    outbox.add(1, record(7))
    assert weights(emptied(outbox)) == [(1, 7)]


def test_what_a_former_supervisor_may_have_is_not_sampled(monkeypatch):
    monkeypatch.setattr(outbox_module, "MAX_WAITING_BYTES", 3000)
    outbox = Outbox("0/5f")
    outbox.has_journal = True
    lines = b"".join(map(record, range(1000, 1010)))
    outbox.add(10, lines)
    outbox.done(outbox.take())
    outbox.put_back([])
    for number in range(1011, 1100):
        outbox.add(1, record(number))
    messages = emptied(outbox)
    assert messages[0] == Events(10, lines, "0/5f", 1, again=True)
    assert all(weight > 1 for weight, _ in weights(messages[1:]))
    assert all(message.first > 10 for message in messages[1:])


def test_what_is_sent_is_kept_until_the_journal_has_it():
    outbox = Outbox("0/5f")

    def send(lines):
        outbox.add(1, lines)
        message = outbox.take()
        outbox.done(message)
        return message

    send(b"a\n")  # nobody said that there is a journal
    outbox.has_journal = True
    for lines in (b"b\n", b"c\n", b"d\n"):
        last = send(lines)
    outbox.kept(3)
    outbox.add(1, b"e\n")
    outbox.put_back([last])  # it never left
    assert outbox.take() == Events(1, b"c\n", "0/5f", 3, True)
    outbox.done(outbox.take())
    assert outbox.take() == Events(2, b"d\ne\n", "0/5f", 4, False)
    outbox.done(outbox.take())
    outbox.kept(4)
    outbox.put_back([])  # another one is gone, too
    assert outbox.take() == Events(2, b"d\ne\n", "0/5f", 4, True)
    assert outbox.take_omitted() == 0


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(outbox_module, "MAX_WAITING_BYTES", 5)
    outbox = Outbox("0/5f")
    outbox.has_journal = True
    for lines in (b"a\n", b"b\n", b"c\n"):
        outbox.add(1, lines)
        outbox.done(outbox.take())
    outbox.put_back([])
    assert (outbox.take().lines, outbox.size, outbox.take_omitted()) == (b"b\nc\n", 4, 0)


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["send", "keep", "return"])), max_size=30))
def test_order_and_numbers_are_kept_whatever_is_returned(steps):
    """As a supervisor that is gone leaves messages, what waited to be sent comes back in front."""
    outbox, unsent, sent, number = Outbox("0/5f"), [], [], 0
    for count, fate in steps:
        lines = b"".join(b"%d\n" % (number + i + 1) for i in range(count))
        outbox.add(count, lines)
        number += count
        if fate == "return":
            outbox.put_back(unsent)
            unsent = []
        elif fate != "keep":
            message = outbox.take()
            outbox.done(message)
            unsent.append(message)
    outbox.put_back(unsent)
    while outbox:
        message = outbox.take()
        assert message.first == int(message.lines.split(b"\n", 1)[0])
        assert message.lines.count(b"\n") == message.count
        outbox.done(message)
        sent += [int(line) for line in message.lines.split()]
    assert outbox.size == 0
    assert sent == sorted(sent) and len(sent) == len(set(sent))
    assert len(sent) == number and outbox.take_omitted() == 0
