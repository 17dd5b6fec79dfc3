from spectrum.core.balancing.clients import client_key


def test_keys():
    here = client_key(b"lb", b"\x7f\0\0\1")
    assert here == client_key(b"lb", b"\x7f\0\0\1") < 2**64
    assert len({here, client_key(b"other", b"\x7f\0\0\1"), client_key(b"lb", b"\x7f\0\0\2")}) == 3
    assert client_key(b"lb", b"\x7f\0\0\1", 53) not in (here, client_key(b"lb", b"\x7f\0\0\1", 54))


def test_the_keys_are_the_same_everywhere():
    """A number that another release may not change: it would move every client."""
    assert client_key(b"salt", b"\x7f\0\0\1") == KEY


KEY = 834458351241844447
