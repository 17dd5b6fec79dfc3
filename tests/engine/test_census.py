import multiprocessing
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.engine.census import Census, Rates

NODE, APP, OTHER = 1, 77, 78
SECOND = 1_000_000_000
ONE, TWO = b"\xc0\0\2\1", b"\xc0\0\2\2"


def memory(size):
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, size)
    return descriptor


def test_sessions_count_for_node_app_and_client():
    census = Census(secret=5)
    for client in (ONE, ONE, TWO):
        census.add(NODE, APP, client, 1)
    census.add(NODE, OTHER, ONE, 1)
    assert [census.count(group) for group in (NODE, APP, OTHER, 9)] == [4, 3, 1, 0]
    assert [census.count_client(group, ONE) for group in (NODE, APP, OTHER)] == [3, 2, 1]
    assert [census.count_client(group, TWO) for group in (NODE, APP, OTHER)] == [1, 1, 0]
    census.add(NODE, APP, ONE, -2)
    assert (census.count(NODE), census.count_client(APP, ONE), census.count_client(NODE, ONE)) == (2, 0, 1)


def test_sessions_of_one_worker():
    file = memory(Census.bytes_for(2))
    one, other = Census(file, 2, 0), Census(file, 2, 1)
    os.close(file)
    one.add(NODE, APP, ONE, 3)
    other.add(NODE, APP, ONE, 1)
    assert [one.count_of(worker, NODE) for worker in (0, 1)] == [3, 1]
    with pytest.raises(ValueError, match="worker 2 of 2"):
        one.count_of(2, NODE)


@pytest.mark.parametrize(
    ("one", "two", "bits", "same"),
    [
        (b"\x0a\0\0\1", b"\x0a\0\0\2", 24, True),
        (b"\x0a\0\0\1", b"\x0a\0\1\1", 24, False),
        (b"\x0a\0\0\x7f", b"\x0a\0\0\x41", 26, True),
        (b"\x0a\0\0\x7f", b"\x0a\0\0\x3f", 26, False),
        (b"\x20\1\x0d\xb8" + bytes(4) + b"12345678", b"\x20\1\x0d\xb8" + bytes(12), 64, True),
        (b"\x20\1\x0d\xb8" + bytes(3) + b"\1" + bytes(8), b"\x20\1\x0d\xb8" + bytes(12), 64, False),
        (b"\x20\1\x0d\xb8" + bytes(3) + b"\1" + bytes(8), b"\x20\1\x0d\xb8" + bytes(12), 56, True),
        (bytes(4), bytes(16), 8, False),  # 0.0.0.0 and :: are two clients
    ],
)
def test_clients_are_told_apart_by_their_prefix(one, two, bits, same):
    census = Census(ipv4_bits=min(bits, 32), ipv6_bits=bits)
    assert (census.key_of(APP, one) == census.key_of(APP, two)) is same


def test_workers_count_together_and_a_dead_one_is_forgotten():
    descriptor = memory(Census.bytes_for(3))
    workers = [Census(descriptor, 3, number, secret=9) for number in range(3)]
    for number, census in enumerate(workers):
        census.add(NODE, APP, ONE, number + 1)
    assert [census.count_client(APP, ONE) for census in workers] == [6, 6, 6]
    workers[0].clear(2)
    assert workers[1].count(APP) == 3
    # A session may begin in one worker's count and not end in another's.
    workers[1].add(NODE, APP, ONE, -2)
    assert (workers[0].count(APP), os.fstat(descriptor).st_size) == (1, Census.bytes_for(3))
    os.close(descriptor)


def test_invalid_memory_workers_and_clients():
    with pytest.raises(OSError, match="cannot be mapped"):
        Census(0x7FFFFFF0)
    with pytest.raises(OSError, match="cannot be mapped"):
        Rates(0x7FFFFFF0)
    with pytest.raises(ValueError, match="worker 1 of 1"):
        Census(-1, 1, 1)
    with pytest.raises(ValueError, match="worker 2 of 1"):
        Census().clear(2)
    for call in (lambda: Census().count_client(1, b"xyz"), lambda: Census().add(1, 2, b"", 1)):
        with pytest.raises(ValueError, match="4 or 16 bytes"):
            call()


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 5)), max_size=60))
def test_a_count_is_never_too_low(entries):
    census = Census(secret=3)
    truth = {}
    for number, amount in entries:
        client = number.to_bytes(4, "big")
        census.add(NODE, APP, client, amount)
        truth[client] = truth.get(client, 0) + amount
    assert census.count(APP) == sum(truth.values())
    for client, count in truth.items():
        assert census.count_client(APP, client) == count  # with so few nobody shares all four cells


def test_fifty_thousand_clients():
    """What the module says of values that are too high."""
    census = Census(secret=12345)
    clients = [(0x0A000000 + number).to_bytes(4, "big") for number in range(50_000)]
    for client in clients:
        census.add(NODE, APP, client, 1)
    counts = [census.count_client(APP, client) for client in clients]
    assert min(counts) == 1
    assert sum(count > 1 for count in counts) < 1000
    assert max(counts) <= 4
    for client in clients:
        census.add(NODE, APP, client, -1)
    assert {census.count_client(APP, client) for client in clients} == {0}


def let_through(rates, key, per_second, times_ns):
    count = 0
    for now_ns in times_ns:
        if not rates.wait_ns(key, per_second, now_ns):
            rates.charge(key, per_second, now_ns)
            count += 1
    return count


def test_a_rate_lets_a_seconds_worth_through_at_once_and_then_its_pace():
    rates, start = Rates(), 1000 * SECOND
    assert let_through(rates, 5, 10, [start] * 50) == 10
    assert let_through(rates, 5, 10, [start + SECOND // 10] * 50) == 1
    assert let_through(rates, 5, 10, [start + 3 * SECOND] * 50) == 10
    assert let_through(rates, 6, 10, [start] * 50) == 10  # a key of its own


@given(st.integers(1, 1000), st.lists(st.integers(0, SECOND // 10), max_size=300))
def test_never_more_than_the_rate_and_a_seconds_worth(per_second, gaps):
    now, times = SECOND * 50, []
    for gap in gaps:
        now += gap
        times.append(now)
    passed = let_through(Rates(), 1, per_second, times)
    assert passed <= per_second * (1 + sum(gaps[1:]) / SECOND) + 1
    assert passed == len(times) or passed >= min(per_second, len(times))


def test_a_refusal_costs_nothing():
    rates, start = Rates(), 7 * SECOND
    assert let_through(rates, 5, 1, [start] * 1000) == 1
    assert let_through(rates, 5, 1, [start + SECOND]) == 1


def _charge(descriptor, start):
    rates = Rates(descriptor)
    for _ in range(5):
        rates.charge(5, 10, start)


def test_a_rate_is_shared_by_processes():
    descriptor, start = memory(Rates.bytes_size()), 9 * SECOND
    other = multiprocessing.get_context("fork").Process(target=_charge, args=(descriptor, start))
    other.start()
    other.join()
    assert let_through(Rates(descriptor), 5, 10, [start] * 50) == 5
    os.close(descriptor)


def test_a_client_counts_for_the_prefix_that_it_is_in():
    census = Census(ipv4_wide_bits=24, ipv6_wide_bits=48)
    here, there = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 200])
    six = bytes.fromhex("20010db8000100000000000000000001")
    for client in (here, there, there, six):
        census.add(1, 7, client, 1)
    assert [census.count_client(7, client, True) for client in (here, there, six)] == [3, 3, 1]
    assert [census.count_client(7, client) for client in (here, there)] == [1, 2]
    assert census.count_client(1, bytes([192, 0, 2, 77]), True) == 3
    assert census.count_client(7, bytes([192, 0, 3, 1]), True) == 0
    assert census.count_client(7, six[:6] + bytes(10), True) == 1
    census.add(1, 7, there, -1)
    assert census.count_client(7, here, True) == 2
    # Even where both have one length they are counted apart.
    same = Census(ipv4_wide_bits=32)
    assert same.key_of(7, here) != same.key_of(7, here, True)
