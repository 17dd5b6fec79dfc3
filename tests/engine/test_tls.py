"""Certificates, ticket keys and contexts: what can be used, and what is said of the rest."""

import secrets

import pytest

from spectrum.engine.tls import (
    KEY_BYTES,
    CertificateKeyPair,
    ClientContext,
    ServerContext,
    TicketKeys,
    TlsError,
    TlsPeer,
    wire_protocols,
)
from tests.certificates import Authority, key_pem

AUTHORITY = Authority()
ONE = AUTHORITY.issue("a.example")
OTHER = AUTHORITY.issue("b.example")


@pytest.mark.parametrize(
    ("chain", "key", "says"),
    [
        (b"", ONE.key, "no certificate in PEM form"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ONE.key, "no certificate in PEM form"),
        (ONE.chain, b"", "no private key"),
        (ONE.chain, key_pem(ONE.private, b"secret"), "without a passphrase"),
        (ONE.chain, OTHER.key, "not the certificate's"),
    ],
)
def test_invalid_certificates_and_keys_are_reported(chain, key, says):
    with pytest.raises(TlsError, match=says):
        CertificateKeyPair(chain, key)


def test_a_fault_leaves_nothing_behind_for_the_next_one():
    for _ in range(2):
        with pytest.raises(TlsError):
            CertificateKeyPair(b"", b"")
        CertificateKeyPair(ONE.chain + AUTHORITY.pem, ONE.key, ONE.staple())


def test_ticket_keys_have_their_size_and_number():
    tickets = TicketKeys()
    tickets.set_keys([secrets.token_bytes(KEY_BYTES)] * 4)
    for wrong in ([], [b"short"], [bytes(KEY_BYTES)] * 5):
        with pytest.raises(ValueError, match="keys of 80 bytes"):
            tickets.set_keys(wrong)


def test_protocols_as_alpn_writes_them():
    assert wire_protocols(("h2", "http/1.1")) == b"\x02h2\x08http/1.1"
    assert wire_protocols(()) == b""


def test_contexts_say_what_they_cannot_use():
    tickets = TicketKeys()
    with pytest.raises(TlsError, match="name of a context"):
        ServerContext(bytes(33), (), tickets)
    with pytest.raises(TlsError, match="no authority's certificate"):
        ServerContext(b"", (), tickets, client_authorities=b"none")
    with pytest.raises(TlsError, match="no authority's certificate"):
        ClientContext(True, authorities=b"none")
    with pytest.raises(KeyError):
        ClientContext(True, versions=("1.0", "1.3"))


def test_contexts_of_every_kind_can_be_made_and_dropped():
    one = CertificateKeyPair(ONE.chain, ONE.key)
    rsa = AUTHORITY.issue("a.example", kind="rsa")
    both = (one, CertificateKeyPair(rsa.chain, rsa.key))
    authorities = AUTHORITY.pem + AUTHORITY.pem  # listed twice
    for _ in range(50):
        ServerContext(b"x", both, TicketKeys(), find=lambda name: both, alpn=("h2",), client_authorities=authorities)
        context = ClientContext(True, authorities=authorities, certificate=one, alpn=("h2",))
        assert context.verifies
        assert TlsPeer(context, "127.0.0.1", True).name == "127.0.0.1"
    assert ClientContext(True).alpn == b""
