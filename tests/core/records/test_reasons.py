import errno

import pytest

from spectrum.core.records.reasons import FIRST_REFUSAL, Reason, connect_failure, relay_failure

EVENTS = {"disconnect", "originError", "resolveOrigin", "clientFiltered", "tlsError"}
# cf-docs, logs.mdx: the codes that exist there.
STATUSES = {
    0,
    200,
    400,
    403,
    *range(443, 449),
    490,
    *range(495, 500),
    500,
    503,
    520,
    521,
    522,
    523,
    524,
    *range(530, 534),
    540,
    999,
}


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_label_a_status_and_an_event(reason):
    assert reason.label == reason.name.lower()
    assert reason.status in STATUSES
    assert reason.event in EVENTS
    assert reason.refused == (reason >= FIRST_REFUSAL and reason.event in ("clientFiltered", "tlsError"))


@pytest.mark.parametrize(
    ("number", "reason", "status"),
    [
        (errno.ECONNREFUSED, Reason.CONNECT_REFUSED, 521),
        (errno.ETIMEDOUT, Reason.CONNECT_TIMEOUT, 522),
        (errno.ENETUNREACH, Reason.CONNECT_UNREACHABLE, 523),
        (errno.EHOSTUNREACH, Reason.CONNECT_UNREACHABLE, 523),
        (errno.EADDRNOTAVAIL, Reason.NO_SOURCE_PORT, 524),
        (errno.EMFILE, Reason.NO_DESCRIPTOR, 524),
        (errno.ENOSPC, Reason.NO_WATCH, 524),
        (errno.ENOMEM, Reason.NO_WATCH, 524),
        (errno.ECONNRESET, Reason.CONNECT_FAILED, 520),
    ],
)
def test_connect_failures(number, reason, status):
    assert connect_failure(number) is reason
    assert reason.status == status


@pytest.mark.parametrize(
    ("number", "client", "origin"),
    [
        (errno.ECONNRESET, 499, 444),
        (errno.ETIMEDOUT, 497, 445),
        (errno.EHOSTUNREACH, 496, 446),
        (errno.EPIPE, 498, 448),
    ],
)
def test_relay_failures(number, client, origin):
    assert relay_failure(number, at_origin=False).status == client
    assert relay_failure(number, at_origin=True).status == origin
