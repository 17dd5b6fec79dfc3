"""One browser and one daemon for all tests of the dashboard; what a page may not do is checked wherever one is open."""

import asyncio
import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.dashboard.links import faults
from tests.dashboard.site import Site

playwright = pytest.importorskip("playwright.sync_api")

# Chromium without what draws windows takes a third less for each page.
CHROMIUM = ("/usr/bin/chromium-headless-shell", "/usr/bin/chromium")
# Where pictures of pages are kept, if somebody asks for them: `SPECTRUM_SCREENS=build/screens pytest tests/dashboard`.
SCREENS = os.environ.get("SPECTRUM_SCREENS", "")
# On a machine that does other work as well, a page may wait long for its turn.
PATIENCE_MS = 60_000
SIZES = {"desktop": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}
# WCAG 2.2 AA, and what axe calls best practice; and "label in name" (2.5.3), which axe calls experimental.
AXE = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "rules": {"label-content-name-mismatch": {"enabled": True}},
    "resultTypes": ["violations"],
}
# A page that has all that it asked for; the one that asks for a token asks for nothing.
READY = "main:not([aria-busy])"
WATCH = "addEventListener('securitypolicyviolation', (e) => console.error('CSP', e.violatedDirective, e.blockedURI));"
# One process renders all pages: each has some 100 modules to compile, which it does once.
BROWSER = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-gpu-compositing",
    "--in-process-gpu",
    "--process-per-site",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
]
# Answers that are part of what is tested; a browser puts a line on the console for each.
EXPECTED = re.compile(r"Failed to load resource: .*(400|401|403|404|412|422|429|503|net::ERR_FAILED)")


def looks(*named: str, more: Sequence[str] = ()) -> pytest.MarkDecorator:
    """Parametrize a test by the sizes and themes it looks at a page in, such as "phone dark".

    Args:
        named: Those of `make test`.
        more: Those that `make cover` and CI have beside them.
    """
    slow = [pytest.param(*one.split(), marks=pytest.mark.slow) for one in more]
    return pytest.mark.parametrize(("size", "theme"), [*(tuple(one.split()) for one in named), *slow])


# That of playwright, while a browser is open.
_loops: list[asyncio.AbstractEventLoop | None] = []


@pytest.fixture(autouse=True)
def _loop_of_playwright() -> Iterator[None]:
    """Have playwright's event loop run during a test, and no other one be in the way of what comes after.

    Its synchronous API keeps a loop running in this thread for as long as the browser is open, in a greenlet of its
    own. A test of asyncio that follows in the same process could run none: a thread has one.
    """
    _set_running(_loops[-1] if _loops else None)
    yield
    _set_running(None)


def _set_running(loop: asyncio.AbstractEventLoop | None) -> None:
    asyncio._set_running_loop(loop)  # what `run_forever` calls: there is no public way


@pytest.fixture(scope="session")
def browser():
    """Chromium, without a window."""
    there = next(filter(os.path.exists, CHROMIUM), None)
    if there is None:
        if os.environ.get("CI"):
            pytest.fail("not installed by .ci/run: chromium-headless-shell")
        pytest.skip("not installed: chromium-headless-shell, or chromium")
    with playwright.sync_playwright() as tool:
        _loops.append(asyncio._get_running_loop())
        made = tool.chromium.launch(executable_path=there, args=BROWSER)
        yield made
        _set_running(_loops[-1])
        made.close()


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """A daemon with some apps, and traffic now and then."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="spectrum-dashboard-")))
        folder.chmod(0o755)
        yield opened.enter_context(Site(folder, free_ports(6)))


def free_ports(count: int) -> list[int]:
    """Return so many ports of this machine on which nothing listens."""
    with ExitStack() as opened:
        socks = [opened.enter_context(socket.socket()) for _ in range(count)]
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in socks]


@pytest.fixture(scope="session")
def _contexts(browser) -> Callable[[str], "playwright.BrowserContext"]:
    """A function that gives the context of a dashboard by its URL: its pages share what the browser keeps of files."""
    made: dict[str, playwright.BrowserContext] = {}

    def context_of(url):
        if url not in made:
            made[url] = browser.new_context(base_url=url, reduced_motion="reduce")
            made[url].set_default_timeout(PATIENCE_MS)
            made[url].new_page()  # the process that renders has one as long as there is one
        return made[url]

    return context_of


@pytest.fixture
def look(_contexts, site) -> Iterator[Callable[..., "playwright.Page"]]:
    """A function that opens a page of the dashboard.

    Its arguments: `view` (behind the #, such as "/apps"), `size` (a key of SIZES), `theme`, and `token` (None for the
    operator's; "" for none), `before` (gets the page before it loads anything).
    Each console error, violation of the content security policy, and link that leads nowhere fails the test; so does a
    page that scrolls sideways at the end.
    """
    context, pages, errors = _contexts(site.url), [], []

    def open_page(view="/", size="desktop", theme="light", token=None, settled=True, before=None):
        page = context.new_page()
        pages.append(page)
        page.set_viewport_size(SIZES[size])
        page.emulate_media(color_scheme=theme)
        given = site.token if token is None else token
        page.add_init_script(
            WATCH + (f"sessionStorage.getItem('token') ?? sessionStorage.setItem('token', '{given}');" if given else "")
        )
        page.on(
            "console",
            lambda one: errors.append(one.text) if one.type == "error" and not EXPECTED.match(one.text) else None,
        )
        page.on("pageerror", lambda one: errors.append(str(one)))
        if before is not None:
            before(page)
        page.goto(f"/#{view}")
        if settled:
            page.wait_for_selector("main h1")
            page.wait_for_selector(READY, state="attached")
        return page

    yield open_page
    context.clear_permissions()
    for page in pages:
        if not page.is_closed():
            errors.extend((*_bad_links(page), *_sideways(page)))
            page.evaluate("localStorage.clear()")  # what else pages share
            page.close()
    assert not errors, errors


def _bad_links(page) -> list[str]:
    """Return what is wrong with the links that a page has now."""
    hashes = page.eval_on_selector_all('a[href^="#/"]', "all => all.map((one) => one.getAttribute('href'))")
    parted = (urlsplit(one[1:]) for one in set(hashes))
    return [fault for one in parted for fault in faults(one.path, set(parse_qs(one.query)))]


def _sideways(page) -> list[str]:
    """Return that a page is wider than its window."""
    wide, width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    return [f"{page.url} is {wide} pixels wide, in a window of {width}"] if wide > width else []


@pytest.fixture
def screen() -> Callable[..., None]:
    """A function that keeps a picture of a page, which is to be looked at, if somebody asked for pictures."""

    def keep(page, name: str, *, full: bool = True) -> None:
        if SCREENS:
            page.screenshot(path=Path(SCREENS, f"{name}.png"), full_page=full)

    return keep


@pytest.fixture(scope="session")
def _axe_source() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text()


@pytest.fixture
def accessible(_axe_source) -> Callable[..., None]:
    """A function that fails where axe finds something on a page."""

    def check(page) -> None:
        page.evaluate(_axe_source)
        page.wait_for_selector(READY, state="attached")
        found = page.evaluate("options => axe.run(document, options)", AXE)
        told = [
            f"{one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:5]]}"
            for one in found["violations"]
        ]
        assert not told, "\n".join(told)

    return check
