import logging
from types import SimpleNamespace

import pytest

from spectrum.control.dns.ledger import Ledger
from spectrum.control.dns.publishing import Publishing
from spectrum.control.dns.update import DnsUpdates
from spectrum.core.dns import DnsPublishing

ONE, OTHER = frozenset({("A", "192.0.2.1")}), frozenset({("A", "192.0.2.2"), ("AAAA", "2001:db8::2")})


class Names:
    """What is published at a server, over restarts of whoever publishes."""

    def __init__(self, path, server):
        self.path, self.server = path, server
        self.settings = DnsPublishing.model_validate(
            {"server": f"127.0.0.1:{server.port}", "zone": "example.org", "tsig_key": str(server.key)}
        )

    def publish(self, wanted, looks=False, settings=True, ends=lambda: False):
        ledger = Ledger(self.path)
        ledger.read()
        self.outcome = Publishing(ledger, ends).run(self.settings if settings else None, wanted, looks)
        again = Ledger(self.path)
        again.read()
        assert again.entries == ledger.entries
        return self.outcome.failures

    def there(self, name):
        return DnsUpdates("127.0.0.1", self.server.port, "").addresses(name)


@pytest.fixture
def names(tmp_path, server):
    return Names(tmp_path / "state" / "dns.json", server)


def test_a_name_is_published_changed_and_withdrawn(names):
    assert names.publish({"ssh.example.org": ONE}) == {}
    assert (names.there("ssh.example.org"), names.outcome.updates) == (ONE, 1)
    assert names.publish({"ssh.example.org": ONE}, looks=True) == {}
    assert names.outcome.updates == 0  # nothing to do
    assert names.publish({"ssh.example.org": OTHER, "web.example.org": ONE}) == {}
    assert (names.there("ssh.example.org"), names.there("web.example.org")) == (OTHER, ONE)
    assert names.publish({"web.example.org": frozenset({("CNAME", "edge.example.org.")})}) == {}
    assert names.there("ssh.example.org") == frozenset()
    assert names.there("web.example.org") == {("CNAME", "edge.example.org.")}
    assert names.publish({}, settings=False) == {}  # the section left the file
    assert names.there("web.example.org") == frozenset()


def test_records_of_others_are_left_alone(names):
    (why,) = names.publish({"a.example.org": ONE}).values()
    assert why == "it has records that Spectrum did not make: A 127.0.0.1; remove them first"
    assert names.there("a.example.org") == {("A", "127.0.0.1")}
    assert names.publish({}) == {}
    assert names.there("a.example.org") == {("A", "127.0.0.1")}
    # One that has what is wanted is taken over.
    assert names.publish({"a.example.org": frozenset({("A", "127.0.0.1")})}) == {}
    assert names.publish({"a.example.org": ONE}) == {}
    assert names.there("a.example.org") == ONE


def test_a_hand_made_change_is_kept_when_a_name_is_withdrawn(names):
    names.publish({"ssh.example.org": ONE})
    by_hand = DnsUpdates("127.0.0.1", names.server.port, str(names.server.key))
    by_hand.change("example.org", "ssh.example.org", [], [("A", "192.0.2.99")], 60)
    assert names.publish({}) == {}
    assert names.there("ssh.example.org") == {("A", "192.0.2.99")}


def test_an_outage_is_made_up_for(names, caplog):
    names.publish({"ssh.example.org": ONE, "old.example.org": ONE})
    names.server.stop()
    failures = names.publish({"ssh.example.org": OTHER, "new.example.org": ONE})
    assert set(failures) == {"ssh.example.org", "new.example.org", "old.example.org"}
    assert all("does not answer correctly" in why for why in failures.values())
    names.server.restore()  # it lost all that it had been told
    names.server.start()
    with caplog.at_level(logging.INFO):
        assert names.publish({"ssh.example.org": OTHER, "new.example.org": ONE}, looks=True) == {}
    assert "DNS name old.example.org is withdrawn" in caplog.text
    assert (names.there("ssh.example.org"), names.there("new.example.org")) == (OTHER, ONE)
    names.server.stop()
    names.server.restore()
    names.server.start()
    assert names.publish({"ssh.example.org": OTHER, "new.example.org": ONE}, looks=True) == {}
    assert "no longer has its records" in caplog.text
    assert (names.there("ssh.example.org"), names.there("new.example.org")) == (OTHER, ONE)


def test_an_end_between_intention_and_update(names):
    """Whatever was noted and not sent, or sent and not noted, comes right at the next pass."""
    assert names.publish({"ssh.example.org": ONE}, ends=lambda: True) == {}
    assert names.there("ssh.example.org") == frozenset()
    assert names.publish({"ssh.example.org": ONE}) == {}
    assert names.there("ssh.example.org") == ONE
    assert names.publish({"ssh.example.org": OTHER}, ends=lambda: True) == {}
    assert names.publish({"ssh.example.org": OTHER}) == {}
    assert names.there("ssh.example.org") == OTHER
    # Sent, and not noted: the process was killed.
    direct = DnsUpdates("127.0.0.1", names.server.port, str(names.server.key))
    names.publish({"ssh.example.org": OTHER, "web.example.org": ONE}, ends=lambda: True)
    direct.change("example.org", "web.example.org", [], ONE, 60)
    assert names.publish({"ssh.example.org": OTHER}) == {}
    assert names.there("web.example.org") == frozenset()


def test_a_server_that_refuses(names):
    names.settings = names.settings.model_copy(update={"tsig_key": None})
    (why,) = names.publish({"ssh.example.org": ONE}).values()
    assert "refused the update of ssh.example.org" in why


def test_another_server_gets_the_names_though_the_former_one_is_gone(names, tmp_path, require, free_port):
    from tests.name_servers import NameServer

    names.publish({"ssh.example.org": ONE})
    names.server.stop()
    with NameServer(tmp_path / "other", names.server.kind, free_port()) as other:
        address = SimpleNamespace(address="127.0.0.1", port=other.port)
        names.settings = names.settings.model_copy(update={"server": address})
        (why,) = names.publish({"ssh.example.org": ONE}).values()
        assert "does not answer" in why  # the former one, where it is still to be withdrawn
        assert other.lookup("ssh.example.org", "A") == ["192.0.2.1"]
    names.server.start()


def test_what_cannot_be_noted_is_not_sent(tmp_path, server):
    (tmp_path / "state").write_text("a file where the folder should be")
    names = Names(tmp_path / "state" / "dns.json", server)
    ledger = Ledger(names.path)
    outcome = Publishing(ledger).run(names.settings, {"ssh.example.org": ONE})
    assert "cannot be noted" in outcome.failures["ssh.example.org"]
    assert names.there("ssh.example.org") == frozenset()
