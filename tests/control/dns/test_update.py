import time

import pytest

from spectrum.control.dns.update import DnsUpdates, RecordsPresent, UpdateError, read_key
from tests.acme_server import lookup

NAME = "_acme-challenge.a.example.org"


def test_records_are_set_and_removed(tsig):
    updates = DnsUpdates("127.0.0.1", 53, str(tsig))
    updates.set_text(NAME, ["one", "two"])
    assert sorted(lookup(NAME, "TXT")) == ['"one"', '"two"']
    updates.set_text(NAME, ["three"])
    assert lookup(NAME, "TXT") == ['"three"']
    updates.set_text(NAME, [])
    assert lookup(NAME, "TXT") == []


def test_what_a_server_refuses(tsig, tmp_path, free_port):
    with pytest.raises(UpdateError, match=r"127.0.0.1 port 53 refused the update of _acme.*: (REFUSED|NOTAUTH)"):
        DnsUpdates("127.0.0.1", 53, "").set_text(NAME, ["one"])
    other = tmp_path / "other"
    other.write_text('key "ours" { algorithm hmac-sha256; secret "b3RoZXJvdGhlcg=="; };')
    with pytest.raises(UpdateError, match="does not answer correctly"):
        DnsUpdates("127.0.0.1", 53, str(other)).set_text(NAME, ["one"])
    with pytest.raises(UpdateError, match=r"has no zone for _acme-challenge\.a\.example\.net"):
        DnsUpdates("127.0.0.1", 53, str(tsig)).set_text("_acme-challenge.a.example.net", ["one"])
    with pytest.raises(UpdateError, match="does not answer correctly"):
        DnsUpdates("127.0.0.1", free_port(), str(tsig)).set_text(NAME, ["one"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no TSIG key"),
        ('key "k" { algorithm hmac-sha256; };', "no TSIG key"),
        ('key "k" { algorithm hmac-sha256; secret "abc"; };', "the key cannot be used"),
        (None, "cannot be read"),
    ],
)
def test_keys_that_cannot_be_used(tmp_path, text, message):
    path = tmp_path / "key"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UpdateError, match=message):
        read_key(path)


def test_a_key_of_bind(tmp_path):
    path = tmp_path / "key"
    path.write_text('# from tsig-keygen\nkey "our.key." {\n\talgorithm hmac-sha512;\n\tsecret "c2VjcmV0";\n};\n')
    key = read_key(path)
    assert (key.name.to_text(), key.secret, key.algorithm.to_text()) == ("our.key.", b"secret", "hmac-sha512.")


def test_addresses_are_changed_at_once_or_not_at_all(server):
    updates = DnsUpdates("127.0.0.1", server.port, str(server.key))
    name, zone = "ssh.example.org", "example.org"
    assert updates.addresses(name) == frozenset()
    both = [("A", "192.0.2.1"), ("AAAA", "2001:db8::1")]
    updates.change(zone, name, [], both, 60, is_new=True)
    assert updates.addresses(name) == frozenset(both)
    with pytest.raises(RecordsPresent, match=r"has records of ssh\.example\.org already"):
        updates.change(zone, name, [], [("A", "192.0.2.9")], 60, is_new=True)
    assert updates.addresses(name) == frozenset(both)
    updates.change(zone, name, both, [("CNAME", "edge.example.org.")], 60)
    assert updates.addresses(name) == {("CNAME", "edge.example.org.")}
    updates.change(zone, name, [("CNAME", "edge.example.org."), ("A", "192.0.2.77")], [], 60)
    assert updates.addresses(name) == frozenset()
    with pytest.raises(
        UpdateError, match=r"NOTAUTH|does the server know the key, and is it authoritative for the zone\?"
    ):
        updates.change("example.net", "ssh.example.net", [], both, 60)


@pytest.mark.parametrize("off_s", [-600, 600])
def test_a_clock_that_is_wrong(server, monkeypatch, off_s):
    updates = DnsUpdates("127.0.0.1", server.port, str(server.key))
    now = time.time
    with monkeypatch.context() as wrong:
        wrong.setattr(time, "time", lambda: now() + off_s)
        told = r"takes no signed updates: its clock and the clock of this machine differ by more than 300 s"
        with pytest.raises(UpdateError, match=told):
            updates.change("example.org", "ssh.example.org", [], [("A", "192.0.2.1")], 60)
        with pytest.raises(UpdateError, match=told):
            updates.set_text(NAME, ["one"])
    assert updates.addresses("ssh.example.org") == frozenset()
    updates.change("example.org", "ssh.example.org", [], [("A", "192.0.2.1")], 60)
    assert updates.addresses("ssh.example.org") == {("A", "192.0.2.1")}
