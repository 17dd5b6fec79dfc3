from ipaddress import ip_network

import pytest

from spectrum.core.configuration.fields import check_name, describe, network, read_networks


@pytest.mark.parametrize(
    ("name", "good"), [("ssh", True), ("a.b_c-1", True), ("", False), ("-a", False), ("a b", False), ("a" * 64, False)]
)
def test_app_names(name, good):
    assert (check_name(name, "an app") is None) is good


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"),
        ({}, "an empty mapping"),
        ({1: 2}, "a mapping"),
        ([], "an empty list"),
        ([1], "a list"),
        (True, "true"),
        ("x" * 80, "'" + "x" * 56 + "..."),
    ],
)
def test_describe(value, text):
    assert describe(value) == text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("198.51.100.0/24", "198.51.100.0/24"),
        ("::ffff:198.51.100.0/120", "198.51.100.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:198.51.100.7", "198.51.100.7/32"),
        ("::/0", "::/0"),
        ("64:ff9b::/96", "64:ff9b::/96"),
    ],
)
def test_networks_are_unmapped(text, found):
    assert network(text) == ip_network(found)
    assert read_networks(f"{text} # a comment".encode()) == ([ip_network(found)], [])


def test_a_mapped_network_has_no_bits_behind_its_length():
    with pytest.raises(ValueError, match="host bits set"):
        network("::ffff:198.51.100.7/120")
