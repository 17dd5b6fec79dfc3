"""Reads the country and autonomous system from a record of a MaxMind DB, in the forms of several vendors."""

from typing import Any


def country_in(record: Any) -> str:
    """Return two letters of ISO 3166, "" without any. City, Country and Enterprise databases of any vendor work, as
    long as a record has `country` with an `iso_code`, or a `country` or `country_code` of two letters.
    """
    if not isinstance(record, dict):
        return ""
    country = record.get("country", record.get("country_code", ""))
    if isinstance(country, dict):
        country = country.get("iso_code", "")
    return country if isinstance(country, str) else ""


def number_in(record: Any) -> int:
    """Return the autonomous system, 0 without one.

    A record has `autonomous_system_number` (MaxMind, DB-IP), or `asn` as a number or as "AS64500".
    """
    if not isinstance(record, dict):
        return 0
    digits = str(record.get("autonomous_system_number", record.get("asn", ""))).upper().removeprefix("AS")
    return int(digits) if digits.isascii() and digits.isdecimal() else 0


def network_in(record: Any) -> str:
    """Return the autonomous system as text, such as AS64500, "" without one."""
    number = number_in(record)
    return f"AS{number}" if number else ""
