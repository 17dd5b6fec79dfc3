"""The modules that pages are made of, in the browser that runs them."""

import pytest

NB, MINUS = "\u00a0", "\u2212"


@pytest.fixture
def blank(look):
    """A page with nothing in its main part, in which modules can be used."""
    page = look("/nothing")
    page.evaluate("() => document.querySelector('main').replaceChildren()")
    return page


def run(page, script, argument=None):
    """Return what a function of the page's modules returns; their names are those of the files."""
    # By the addresses that the page has them by: else they would be others, with a state of their own.
    base = page.evaluate("() => document.querySelector('script[type=module]').src").removesuffix("main.js")
    names = ("dom", "format", "diff", "table", "time", "overlay", "links")
    loads = "; ".join(f"const {name} = await import('{base}{name}.js')" for name in names)
    return page.evaluate(f"async (given) => {{ {loads}; {script} }}", argument)


CASES = [
    ("si(1.21e9, 'bit/s')", f"1.21{NB}Gbit/s"),
    ("si(304000, 'pps')", f"304{NB}kpps"),
    ("si(0, 'bit/s')", f"0{NB}bit/s"),
    ("si(999.6)", f"1.00{NB}k"),
    ("si(-1500, 'B')", f"{MINUS}1.50{NB}kB"),
    ("si(null)", "\u2013"),
    ("int(99999)", "99,999"),
    ("int(412345)", f"412{NB}k"),
    ("pct(0)", f"0{NB}%"),
    ("pct(0.00001)", f"<{NB}0.01{NB}%"),
    ("pct(0.0002)", f"0.02{NB}%"),
    ("pct(0.078)", f"7.8{NB}%"),
    ("pct(0.12)", f"12{NB}%"),
    ("pct(0.9994)", f"99.94{NB}%"),
    ("pct(0.99999)", f"99.99{NB}%"),
    ("pct(1)", f"100{NB}%"),
    ("change(106, 100)", f"+6{NB}%"),
    ("change(97, 100)", f"{MINUS}3{NB}%"),
    ("change(500, 100)", f"5.0{NB}×"),
    ("change(2630000000, 70000)", f"37,600{NB}×"),
    ("change(5, 0)", ""),
    ("dur(1.4)", f"1.4{NB}s"),
    ("dur(5)", f"5{NB}s"),
    ("dur(61)", f"61{NB}s"),
    ("dur(34 * 60)", f"34{NB}min"),
    ("dur(6 * 3600 + 37 * 60)", f"6{NB}h{NB}37{NB}min"),
    ("dur(41 * 86400)", f"41{NB}d"),
    ("dur(0.0021)", f"2.10{NB}ms"),
    ("when(1700000000, 1700003600)", "22:13"),
    ("when(1699900000, 1700003600)", "Mon 18:26"),
    ("when(1690000000, 1700003600)", "22 Jul 04:26"),
    ("when(1600000000, 1700003600)", "13 Sep 2020"),
    ("moment(1700000000, 1700003600)", "22:13:20"),
    ("moment(1699900000, 1700003600)", "Mon 18:26"),
    ("ago(1700000000, 1700000720)", f"12{NB}min ago"),
    ("instant('2026-11-18T20:40:07Z')", "2026-11-18 20:40:07 UTC"),
    ("count(1, 'origin')", "one origin"),
    ("count(12, 'app')", "12 apps"),
]


def _parsed(source):
    """Return the name of a function and its arguments: the page's policy lets nothing be evaluated there."""
    name, _, rest = source.partition("(")
    return [name, *eval(f"[{rest[:-1]}]", {"__builtins__": {}}, {"null": None})]


def test_numbers_and_times(blank):
    script = "return given.map(([name, ...those]) => format[name](...those))"
    found = run(blank, script, [_parsed(source) for source, _ in CASES])
    assert [(source, text) for (source, _), text in zip(CASES, found, strict=True)] == CASES


def test_differences_and_yaml(blank):
    found = run(
        blank,
        "return [diff.lines('a\\nb\\nc\\n', 'a\\nx\\nc\\nd\\n'), diff.yaml(given),"
        " diff.diff('a\\n', 'a\\n').textContent, diff.diff('a\\n', 'b\\n').querySelectorAll('.add, .del').length]",
        {
            "apps": {
                "ssh": {
                    "protocol": "tcp/22",
                    "ports": [1, 2],
                    "note": "yes",
                    "empty": {},
                    "none": None,
                    "list": [{"a": 1}],
                }
            }
        },
    )
    assert found[0] == [[" ", "a"], ["-", "b"], ["+", "x"], [" ", "c"], ["+", "d"]]
    assert found[1] == (
        'apps:\n  ssh:\n    protocol: tcp/22\n    ports: [1, 2]\n    note: "yes"\n    empty: {}\n    none: null\n'
        "    list:\n      - a: 1\n"
    )
    assert found[2:] == ["Nothing changes.", 2]


TABLE = """
const rows = Array.from({length: 10000}, (_, i) => (
  {id: i, name: `tenant-${String(i).padStart(5, '0')}`, sessions: (i * 7919) % 10007}));
window.opened = [];
window.made = table.table({
  label: 'Apps',
  rows,
  onOpen: (row) => window.opened.push(row.name),
  columns: [
    {key: 'name', label: 'App', width: '50%'},
    {key: 'sessions', label: 'Sessions', align: 'num', render: (row) => format.int(row.sessions)},
  ],
  filter: {
    placeholder: 'Filter by name',
    parts: [{label: 'All'}, {label: 'Many', test: (row) => row.sessions > 9000}],
  },
});
dom.$('main').append(dom.h('h1', {}, 'Apps'), window.made.node);
await new Promise((done) => setTimeout(done, 200));
"""


def test_ten_thousand_rows(blank, accessible, screen):
    run(blank, TABLE)
    assert blank.locator("tbody tr:not(.gap)").count() < 60, "only those in sight are there"
    assert blank.get_attribute("table", "aria-rowcount") == "10001"
    accessible(blank)
    screen(blank, "table", full=False)
    blank.fill("[data-filter]", "tenant-09 9")
    assert "of 10,000" in blank.inner_text(".count")
    blank.fill("[data-filter]", "no such app")
    assert "Nothing matches" in blank.inner_text("main")
    blank.get_by_role("button", name="Show all").click()
    blank.get_by_role("button", name="Sessions", exact=True).click()
    assert blank.inner_text("tbody tr:not(.gap) td:nth-child(2)") == "10,006", "numbers begin with the largest"
    assert blank.get_attribute("th:nth-child(2)", "aria-sort") == "descending"
    blank.evaluate("() => { document.querySelector('.tw').scrollTop = 180000; }")
    blank.wait_for_function(
        "() => Number(document.querySelector('tbody tr:not(.gap)').getAttribute('aria-rowindex')) > 4000"
    )
    blank.get_by_role("button", name="Many").click()
    assert "of 10,000" in blank.inner_text(".count")


def test_rows_by_keyboard_and_their_order(blank):
    run(blank, TABLE)
    blank.keyboard.press("/")
    assert blank.evaluate("() => document.activeElement.matches('[data-filter]')")
    blank.keyboard.press("Escape")
    blank.evaluate("() => document.activeElement.blur()")
    for key in "jjk":
        blank.keyboard.press(key)
    assert blank.evaluate("() => document.activeElement.dataset.key") == "0"
    for _ in range(40):
        blank.keyboard.press("j")
    blank.keyboard.press("Enter")
    assert blank.evaluate("() => window.opened") == ["tenant-00040"]
    blank.hover("tbody tr:not(.gap)")
    found = blank.evaluate(
        "() => { const rows = window.made.rows.slice().reverse(); window.made.setRows(rows);"
        " return [window.made.rows[0].name, window.made.rows.length]; }"
    )
    assert found == ["tenant-00000", 10000], "nothing moves under the pointer"


def test_a_confirmation_in_place(blank, accessible):
    run(
        blank,
        "dom.$('main').append(dom.h('h1', {}, 'x'), dom.h('p', {id: 'at'}, 'row'));"
        " overlay.confirmInPlace(dom.$('#at'), {text: 'Then pg-3 alone serves.', verb: 'Drain pg-1'})"
        ".then((yes) => { window.answer = yes; });",
    )
    accessible(blank)
    assert blank.evaluate("() => document.activeElement.textContent") == "Drain pg-1"
    blank.keyboard.press("Escape")
    blank.wait_for_function("() => window.answer === false")
    assert blank.locator(".confirm").count() == 0


def test_the_range_is_in_the_address(blank):
    found = run(
        blank,
        "time.setRange({last: 6 * 3600}); const live = location.hash;"
        " time.setRange({since: 1.7e9, until: 1.7e9 + 3600}); const fixed = location.hash, length = time.range.length;"
        " time.zoomOut(); const back = location.hash; time.zoomOut();"
        " return [live, fixed, length, back, location.hash];",
    )
    assert found == [
        "#/nothing?last=6h",
        "#/nothing?since=2023-11-14T22%3A13%3A20Z&until=2023-11-14T23%3A13%3A20Z",
        3600,
        "#/nothing?last=6h",
        "#/nothing",
    ]


def test_where_objects_are(blank):
    sections = ["apps", "pools", "load_balancers", "monitors", "certificates", "nothing"]
    found = run(blank, "return given.map((one) => links.linkTo(one, 'a/b'))", sections)
    assert found == [
        "#/apps/a%2Fb",
        "#/balancing/pools/a%2Fb",
        "#/balancing/a%2Fb",
        "#/balancing/monitors/a%2Fb",
        "#/certificates/a%2Fb",
        "",
    ]
