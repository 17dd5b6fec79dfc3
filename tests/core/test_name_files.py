import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.name_files import ResolverSettings, parse_hosts, parse_resolv_conf


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ResolverSettings()),
        ("# nothing\n; at all\nnameserver\noptions\nsortlist 1.2.3.4\n", ResolverSettings()),
        ("nameserver 192.0.2.1\nnameserver 2001:db8::1\n", ResolverSettings(("192.0.2.1", "2001:db8::1"))),
        ("nameserver fe80::1%eth0 # DHCP\n", ResolverSettings(("fe80::1%eth0",))),
        ("nameserver 192.0.2.1\nnameserver 192.0.2.1\nnameserver no.address\n", ResolverSettings(("192.0.2.1",))),
        ("nameserver\t127.0.0.53\noptions edns0 trust-ad\nsearch .\n", ResolverSettings(("127.0.0.53",), edns=True)),
        ("search a.test b.test.\n", ResolverSettings(search=("a.test", "b.test"))),
        ("search a.test\ndomain c.test d.test\n", ResolverSettings(search=("c.test",))),
        (
            "options timeout:7 attempts:3 ndots:2 rotate\noptions use-vc\n",
            ResolverSettings(timeout_s=7, attempts=3, ndots=2, rotate=True, tcp=True),
        ),
        ("options timeout:0 attempts:99 ndots:99", ResolverSettings(timeout_s=1, attempts=5, ndots=15)),
        ("options timeout:x attempts ndots:-1 timeout:²", ResolverSettings()),
    ],
)
def test_resolv_conf(text, expected):
    assert parse_resolv_conf(text) == expected


@pytest.mark.parametrize(
    ("name", "ndots", "candidates"),
    [
        ("db", 1, ["db.a.test.", "db.b.test.", "db."]),
        ("db.", 1, ["db."]),
        ("db.x", 1, ["db.x.", "db.x.a.test.", "db.x.b.test."]),
        ("db.x", 5, ["db.x.a.test.", "db.x.b.test.", "db.x."]),
        ("db", 0, ["db.", "db.a.test.", "db.b.test."]),
        ("x" * 250, 1, ["x" * 250 + "."]),
    ],
)
def test_what_a_name_may_mean(name, ndots, candidates):
    assert ResolverSettings(search=("a.test", "b.test"), ndots=ndots).candidates(name) == candidates


def test_hosts():
    text = """
127.0.0.1 localhost db db.test # a comment
::1	localhost
192.0.2.1  DB.Test. other
fe80::5%eth0 local
::ffff:192.0.2.7 mapped
no.address x
192.0.2.9
192.0.2.1 db.test
"""
    assert parse_hosts(text) == {
        "localhost": ("127.0.0.1", "::1"),
        "db": ("127.0.0.1",),
        "db.test": ("127.0.0.1", "192.0.2.1"),
        "other": ("192.0.2.1",),
        "local": ("fe80::5",),
        "mapped": ("192.0.2.7",),
    }


@given(st.text())
def test_any_text_is_read(text):
    assert parse_resolv_conf(text).servers
    parse_hosts(text)
