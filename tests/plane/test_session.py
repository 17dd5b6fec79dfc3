import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spectrum.core.access.rules import Verdict
from spectrum.core.life.session import TABLE, SessionState, SessionStep
from spectrum.core.records.events import SessionEvent
from spectrum.plane.session import NOT_BEGUN, Session

CLIENT = (b"TLSv1.3", b"TLS_AES_256_GCM_SHA384", b"", b"a.example", False, None, b"", b"")
ORIGIN = (b"TLSv1.2", b"ECDHE-RSA-AES128-GCM-SHA256")

WAITS = (SessionState.HELD, SessionState.QUEUED, SessionState.SECURING)


def session(**facts):
    made = Session()
    for name, value in facts.items():
        setattr(made, name, value)
    return made


def test_its_fields_are_those_of_records():
    everything = session(verdict=Verdict("r", True, "BLOCK_IP"), client_tls=CLIENT, origin_tls=ORIGIN)
    assert set(everything.fields(True)) <= set(SessionEvent.__struct_fields__)


@pytest.mark.parametrize(
    ("facts", "connected", "client", "origin"),
    [
        ({}, False, None, None),  # refused before the handshake
        ({"shook_hands": True}, False, "HANDSHAKE_FAILED", None),
        ({"shook_hands": True, "client_tls": CLIENT}, True, "OK", None),
        ({"shook_hands": True, "client_tls": CLIENT}, False, "OK", None),  # no origin was reached
        ({"client_tls": CLIENT, "tls_fault": "self-signed certificate"}, False, "OK", "HANDSHAKE_FAILED"),
        ({"client_tls": CLIENT, "tls_fault": "bad record mac"}, True, "OK", None),
        ({"client_tls": CLIENT, "origin_tls": ORIGIN}, True, "OK", "OK"),
    ],
)
def test_who_shook_hands(facts, connected, client, origin):
    fields = session(**facts).fields(connected)
    assert (fields.get("ClientTlsStatus"), fields.get("OriginTlsStatus")) == (client, origin)
    assert fields["TlsError"] == facts.get("tls_fault", "")


def test_the_name_is_that_of_the_handshake_or_of_the_hello_that_was_passed_on():
    assert session(server_name="b.example").fields(True)["ClientTlsClientHelloServerName"] == "b.example"
    assert session(client_tls=CLIENT).fields(True)["ClientTlsClientHelloServerName"] == "a.example"


class Sessions(RuleBasedStateMachine):
    """Whatever happens, the state of the object is that of the table, and what waits continues once."""

    def __init__(self):
        super().__init__()
        self.session, self.expected, self.newcomer = Session(), SessionState.ACCEPTED, object()
        self.tried = []

    def may(self, event):
        return (self.expected, event) in TABLE

    def happens(self, event):
        self.expected, _ = TABLE[self.expected, event]

    @precondition(lambda self: self.may(SessionStep.NEEDS_MORE))
    @rule()
    def needs_more(self):
        beginning = (object(), object())
        self.session.read(*beginning)
        self.happens(SessionStep.NEEDS_MORE)
        assert self.session.take_beginning() == beginning
        assert self.session.take_beginning() == NOT_BEGUN

    @precondition(lambda self: self.may(SessionStep.MUST_WAIT))
    @rule()
    def must_wait(self):
        self.session.hold(self.newcomer)
        self.happens(SessionStep.MUST_WAIT)

    @precondition(lambda self: self.may(SessionStep.FOUND_FULL))
    @rule()
    def found_full(self):
        self.wait_ends()
        self.session.queue(self.newcomer)
        self.happens(SessionStep.FOUND_FULL)

    @precondition(lambda self: self.may(SessionStep.SPEAKS_TLS))
    @rule()
    def speaks_tls(self):
        self.wait_ends()
        self.session.secure(self.newcomer)
        self.happens(SessionStep.SPEAKS_TLS)
        assert self.session.shook_hands

    @precondition(lambda self: self.may(SessionStep.ADMITTED))
    @rule()
    def admitted(self):
        self.wait_ends()
        self.session.lead()
        self.happens(SessionStep.ADMITTED)

    @precondition(lambda self: self.may(SessionStep.EXHAUSTED))
    @rule()
    def exhausted(self):
        self.tried.append(object())
        self.session.exhaust(self.tried[-1])
        self.happens(SessionStep.EXHAUSTED)

    def wait_ends(self):
        if self.expected in WAITS:
            assert self.session.take_newcomer(self.expected) is self.newcomer

    @precondition(lambda self: self.expected not in WAITS)
    @rule(awaited=st.sampled_from(WAITS))
    def nothing_waits(self, awaited):
        with pytest.raises(AssertionError, match="once"):
            self.session.take_newcomer(awaited)

    @invariant()
    def the_state_is_that_of_the_table(self):
        assert self.session.state is self.expected
        assert list(self.session.tried) == self.tried


TestSessions = Sessions.TestCase


def test_one_wait_is_not_taken_for_another():
    held = Session()
    held.hold(object())
    with pytest.raises(AssertionError, match="it is held"):
        held.take_newcomer(SessionState.SECURING)
