from spectrum.api.failures import MAX_ADDRESSES, FailedAttempts


def test_an_address_that_fails_too_often_waits_for_the_end_of_its_window():
    failures = FailedAttempts(attempts=3, per_s=60)
    assert [failures.add("192.0.2.1", 10.0 + i) for i in range(3)] == [(1, 0.0), (2, 0.0), (3, 0.0)]
    assert failures.add("192.0.2.1", 20.0) == (4, 50.0)
    assert failures.is_first_too_many(4) and not failures.is_first_too_many(5)
    assert failures.add("192.0.2.2", 20.0) == (1, 0.0)
    assert failures.add("192.0.2.1", 70.0) == (1, 0.0)


def test_a_network_of_ipv6_is_one_client():
    failures = FailedAttempts()
    assert failures.add("2001:db8::1", 0)[0] == 1
    assert failures.add("2001:db8::2%eth0", 0)[0] == 2
    assert failures.add("2001:db8:0:1::1", 0)[0] == 1
    assert failures.add("::ffff:192.0.2.1", 0)[0] == 1
    assert failures.add("192.0.2.1", 0)[0] == 2
    assert failures.add("", 0)[0] == 1


def test_no_more_addresses_are_remembered_than_fit():
    failures = FailedAttempts()
    for number in range(MAX_ADDRESSES + 10):
        failures.add(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0)
    assert failures.add("10.0.0.0", 0)[0] == 1
    assert failures.add("10.0.39.24", 0)[0] == 2
