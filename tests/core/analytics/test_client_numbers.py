import msgspec
import pytest

from spectrum.core.analytics import client_numbers
from spectrum.core.analytics.client_numbers import ClientNumbers
from tests.analytics.records import record


def line(address):
    return msgspec.json.encode(record(ClientIP=address))


def test_an_address_keeps_its_number():
    numbers = ClientNumbers({b"192.0.2.1": 7}, 8)
    assert [numbers.of(line(one)) for one in ("192.0.2.2", "192.0.2.1", "2001:db8::1", "192.0.2.2")] == [8, 7, 9, 8]
    assert numbers.fresh == {b"192.0.2.2": 8, b"2001:db8::1": 9}
    assert [numbers.number(one) for one in (b"192.0.2.1", b"192.0.2.2", b"")] == [7, 8, 0]
    numbers.keep()
    assert numbers.fresh == {}
    assert [numbers.of(line(one)) for one in ("2001:db8::1", "192.0.2.3")] == [9, 10]


def test_what_could_not_be_stored_has_no_number():
    numbers = ClientNumbers({}, 1)
    assert numbers.of(line("192.0.2.1")) == 1
    numbers.forget()
    assert numbers.fresh == {}
    assert numbers.of(line("192.0.2.2")) == 1


@pytest.mark.parametrize("address", ["", 'a"ClientIP":"b', "\\", "ü"])
def test_what_is_no_address_has_none(address):
    numbers = ClientNumbers({}, 1)
    assert numbers.of(line(address)) == 0
    assert numbers.fresh == {}


def test_text_of_others_is_no_field():
    hostile = record(ClientIP="192.0.2.1", ClientTlsClientHelloServerName='","ClientIP":"192.0.2.9')
    numbers = ClientNumbers({}, 1)
    assert numbers.of(msgspec.json.encode(hostile)) == 1
    assert numbers.fresh == {b"192.0.2.1": 1}


def test_when_there_are_too_many_the_others_have_none(monkeypatch):
    monkeypatch.setattr(client_numbers, "MAX_CLIENTS", 4)
    numbers = ClientNumbers({}, 1)
    assert numbers.has_room
    assert [numbers.of(line(f"192.0.2.{host}")) for host in (1, 2, 3, 4, 5, 1)] == [1, 2, 3, 4, 0, 1]
    numbers.keep()
    assert not numbers.has_room
    assert numbers.of(line("192.0.2.6")) == 0
    renewed = numbers.renewed()
    assert renewed.of(line("192.0.2.1")) == 5, "other numbers than those of the volume before"


def test_numbers_begin_again_before_their_type_ends():
    assert ClientNumbers({}, client_numbers._LAST + 1).renewed().of(line("192.0.2.1")) == 1
