"""The PDF has the words of the report, whatever they are."""

import base64
import re
import zlib
from dataclasses import replace

import pytest

from spectrum.analytics.paper import load, pdf
from spectrum.core.analytics.report import Volume, report
from tests.core.analytics.test_report import LOST, QUIET, SINCE

HOSTILE = "<b>x</b> &amp; \u202e \u4e2d"


def words(data):
    """The texts of a PDF, which reportlab writes as strings in compressed streams."""
    streams = re.findall(rb"stream\r?\n(.*?)endstream", data, re.DOTALL)
    texts = []
    for one in streams:
        try:
            plain = zlib.decompress(_ascii85(one))
        except (ValueError, zlib.error):
            continue
        texts += re.findall(rb"\(((?:[^()\\]|\\.)*)\) Tj", plain)
    return b" ".join(texts).replace(rb"\(", b"(").replace(rb"\)", b")")


def _ascii85(data):
    return base64.a85decode(data.strip().removesuffix(b"~>"))


@pytest.fixture(scope="module")
def week():
    days = [Volume(start=SINCE + i * 86400, sessions=10, bytes_out=(11 + i) * 10**12) for i in range(7)]
    apps = [Volume(HOSTILE, sessions=5, bytes_in=10**6)]
    return report(replace(LOST, days=days, days_before=days, apps=apps))


def test_the_words_of_a_week_with_an_outage(week):
    data = pdf(week)
    assert data.startswith(b"%PDF-")
    text = words(data)
    for expected in (
        b"12,400",
        b"Outages",
        b"db/pg-2",
        b"connect_timeout",
        b"Repair",
        b"Mon",
        b"< b > x < /b > & amp;",
    ):
        assert expected in text, expected
    assert pdf(week) == data, "the same again"


def test_a_quiet_week_has_one_page():
    assert b"Every origin up" in words(pdf(report(QUIET)))
    assert pdf(report(QUIET)).count(b"/Type /Page\n") == 1


def test_long_texts_continue_on_the_next_page():
    apps = [Volume(f"app-{i}" * 30, sessions=1) for i in range(8)]
    months = [Volume(start=SINCE + i * 86400, bytes_out=i) for i in range(30)]
    long = report(replace(LOST, apps=apps, days=months, missing=["Not everything is in it."] * 200))
    assert pdf(long).count(b"/Type /Page\n") > 1


def test_everything_can_be_loaded_before_there_is_a_report():
    load()
    assert pdf(report(replace(QUIET, total=Volume(), before=Volume()))).startswith(b"%PDF")
