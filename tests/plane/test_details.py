import pytest

from spectrum.core.access.rules import Verdict
from spectrum.core.records.events import SessionEvent
from spectrum.plane.details import SessionDetails

CLIENT = (b"TLSv1.3", b"TLS_AES_256_GCM_SHA384", b"", b"a.example", False, None, b"", b"")
ORIGIN = (b"TLSv1.2", b"ECDHE-RSA-AES128-GCM-SHA256")


def details(**facts):
    made = SessionDetails()
    for name, value in facts.items():
        setattr(made, name, value)
    return made


def test_its_fields_are_those_of_records():
    everything = details(verdict=Verdict("r", True, "BLOCK_IP"), client_tls=CLIENT, origin_tls=ORIGIN)
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
    fields = details(**facts).fields(connected)
    assert (fields.get("ClientTlsStatus"), fields.get("OriginTlsStatus")) == (client, origin)
    assert fields["TlsError"] == facts.get("tls_fault", "")


def test_the_name_is_that_of_the_handshake_or_of_the_hello_that_was_passed_on():
    assert details(server_name="b.example").fields(True)["ClientTlsClientHelloServerName"] == "b.example"
    assert details(client_tls=CLIENT).fields(True)["ClientTlsClientHelloServerName"] == "a.example"


def test_a_newcomer_goes_on_once():
    waiting = details(newcomer="newcomer")
    assert waiting.take_newcomer() == "newcomer"
    with pytest.raises(AssertionError):
        waiting.take_newcomer()
