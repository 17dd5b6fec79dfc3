import re
from contextlib import suppress
from ipaddress import ip_network

import pytest
from pydantic import TypeAdapter, ValidationError

from spectrum.core.address import parse_ports, parse_socket_address
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.fields import (
    Listen,
    Ports,
    Strict,
    WholeSeconds,
    check_name,
    country,
    describe,
    duration,
    network,
    positive_duration,
    read_networks,
    size,
    text,
)
from tests.wrong import ANYTHING_IN_YAML


def below(model):
    return {model, *(found for one in model.__subclasses__() for found in below(one))}


@pytest.mark.parametrize(
    "model", sorted(below(Strict), key=lambda model: model.__name__), ids=lambda model: model.__name__
)
def test_a_model_takes_or_refuses_whatever_a_field_has(model):
    assert issubclass(Config, Strict), "its import has that of all sections"
    for name, field in model.model_fields.items():
        for value in (
            *ANYTHING_IN_YAML,
            *([one] for one in ANYTHING_IN_YAML),
            *({"DE": one} for one in ANYTHING_IN_YAML),
        ):
            with suppress(ValidationError):
                model.model_validate({field.alias or name: value})


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


@pytest.mark.parametrize(
    ("read", "given", "found"),
    [
        (duration, "1m", 60),
        (positive_duration, 0.5, 0.5),
        (size, "2KiB", 2048),
        (size, 7, 7),
        (country, "DE", "DE"),
        (text, "x", "x"),
        (TypeAdapter(WholeSeconds).validate_python, "2m", 120),
        (TypeAdapter(Ports).validate_python, 22, parse_ports(22)),
        (TypeAdapter(Listen).validate_python, "[::1]:9090", parse_socket_address("[::1]:9090")),
    ],
)
def test_values_are_read(read, given, found):
    assert read(given) == found


@pytest.mark.parametrize(
    ("read", "given", "says"),
    [
        (duration, True, "expected a duration such as 5s or 1h, found true"),
        (positive_duration, "0s", "'0s': a duration must be longer than 0"),
        (size, [], "expected a size such as 64MiB, found an empty list"),
        (country, "Germany", "'Germany' is not a country; write two capital letters of ISO 3166, such as DE"),
        (text, None, "expected text, found nothing"),
        (TypeAdapter(WholeSeconds).validate_python, "1500ms", "whole seconds between 1s and 32767s"),
        (TypeAdapter(WholeSeconds).validate_python, "10h", "whole seconds between 1s and 32767s"),
        (TypeAdapter(Ports).validate_python, {}, "expected a port or a range of ports, found an empty mapping"),
        (TypeAdapter(Listen).validate_python, 9090, "expected text such as 127.0.0.1:9090, found 9090"),
        (network, "fe80::1%eth0", "a zone is not supported"),
    ],
)
def test_faults_are_reported(read, given, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        read(given)


def test_faulty_lines_of_a_list_are_reported_with_their_numbers():
    found, wrong = read_networks(b"# none\n\n192.0.2.1\nx\n2001:db8::/32 ; ours\n")
    assert found == [ip_network("192.0.2.1"), ip_network("2001:db8::/32")]
    assert [(number, message[:20]) for number, message in wrong] == [(4, "'x' is not a prefix;")]
