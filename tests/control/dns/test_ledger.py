import pytest

from spectrum.control.configuration.actor import RolloutError
from spectrum.control.dns.ledger import Ledger, Publication

ONE = Publication("a.example.org", (("A", "192.0.2.1"),), "example.org", ("192.0.2.53", 53), 300, "/key", True)


def test_what_is_noted_is_kept(tmp_path):
    ledger = Ledger(tmp_path / "state" / "dns.json")
    ledger.read()
    assert ledger.entries == {}
    ledger.note(ONE)
    ledger.keep()
    again = Ledger(tmp_path / "state" / "dns.json")
    again.read()
    assert again.entries == {ONE.key: ONE}
    assert ONE.as_set == {("A", "192.0.2.1")}
    again.forget(ONE)
    again.keep()
    ledger.read()
    assert ledger.entries == {}


def test_a_file_that_cannot_be_read_is_not_forgotten(tmp_path):
    path = tmp_path / "dns.json"
    path.write_text("{")
    with pytest.raises(RolloutError, match="which DNS names are published cannot be read"):
        Ledger(path).read()
