"""Links lead to pages that there are. Those of pages that are open are looked at whenever a test has opened one."""

import re

import pytest

from spectrum.api.dashboard import FOLDER
from tests.dashboard.links import ROUTES, faults

# What a script says of an address: '#/path?name=', href('/path', { name: ... }), go('/path').
PLACE = re.compile(r"""['"`]#(/[^'"`?]*)(\?[^'"`]*)?|\b(?:href|go)\(['"`](/[^'"`?]*)['"`](?:, \{([^}]*)\})?""")
INNER = re.compile(r"\$\{[^{}]*\}")


def links_of(script: str) -> list[tuple[str, set[str]]]:
    """Return each path in a script, with an x where something is put in, and the names behind it."""
    while INNER.search(script):
        script = INNER.sub("x", script)
    found = []
    for literal, query, called, pairs in PLACE.findall(script):
        names = re.findall(r"[?&](\w+)=", query) if query else re.findall(r"(?:^|,) *(\w+)(?= *(?::|,|$))", pairs)
        found.append((literal or called, set(names)))
    return found


def test_links_are_found():
    script = "h('a', { href: `#/a/${x(`${y}`)}?b=${c}` }); go('/d'); href('/e', { f: 1, g }); href('/h', {}); '#/'"
    assert links_of(script) == [("/a/x", {"b"}), ("/d", set()), ("/e", {"f", "g"}), ("/h", set()), ("/", set())]
    assert faults("/load-balancing", set()) and faults("/analytics", {"filter"}) and not faults("/apps/x", {"last"})


def test_each_link_has_a_page():
    found = {
        str(path.relative_to(FOLDER)): links_of(path.read_text())
        for path in (FOLDER / "js").rglob("*.js")
        if path.name != "pages.js"
    }
    wrong = [(path, one) for path, links in found.items() for link in links for one in faults(*link)]
    assert not wrong
    assert sum(map(len, found.values())) > 60 and len(ROUTES) > 20


@pytest.mark.parametrize("value", ["web", "a,b;c==d", "x!y~z", "ünï 100%", "10.0.0.0/8"])
def test_a_link_to_analytics_has_its_filter(look, value):
    page = look("/nothing")
    base = page.evaluate("() => document.querySelector('script[type=module]').src").removesuffix("main.js")
    script = """async ([base, value]) => {
      const { trafficOf } = await import(base + 'links.js'), { fromQuery } = await import(base + 'analytics/view.js');
      const read = (text) => fromQuery(Object.fromEntries(new URLSearchParams(text.split('?')[1])));
      return read(trafficOf('app', value, { m: 'failed' }));
    }"""
    view = page.evaluate(script, [base, value])
    assert view["metric"]["key"] == "failed"
    assert view["filters"] == [{"dimension": "app", "op": "=", "values": [value]}]
