"""How soon each page of the dashboard is there, in Chromium beside the daemon: by the browser's own timings.

A page is ready when all that it asked for is answered and drawn (its mark `ready`, of `shell.js`), and interactive when
its frame is there and no task of more than 50 ms (https://www.w3.org/TR/longtasks-1/) follows within a second.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.pages_site import Edge, edge
from benchmarks.report import RESULTS
from benchmarks.rounds import Figures, Rows, work_folder
from spectrum.store.objects import file_id

# How many apps the API's store has beside those of the file.
SIZES = {"4 apps": 0, "10,004 apps": 10_000}
CHROMIUM = ("/usr/bin/chromium-headless-shell", "/usr/bin/chromium")
# By title.
PAGES = {
    "sign-in": "",
    "Overview": "/",
    "Analytics": "/analytics",
    "Analytics, by country, 7 days": "/analytics?m=bits&by=country&last=7d",
    "Attacks": "/attacks",
    "Sessions": "/sessions",
    "Clients": "/clients",
    "one client": "/clients/203.0.113.7",
    "Report": "/report",
    "Apps": "/apps",
    "an app": f"/apps/{file_id('apps', 'postgres')}",
    "a new app": "/apps/new?preset=ssh",
    "Load balancing": "/balancing",
    "a load balancer": f"/balancing/{file_id('load_balancers', 'postgres')}",
    "a pool": f"/balancing/pools/{file_id('pools', 'postgres')}",
    "a monitor": f"/balancing/monitors/{file_id('monitors', 'pg')}",
    "Access rules": "/access",
    "DDoS protection": "/protection",
    "Lists": "/lists",
    "Certificates": "/certificates",
    "Tokens": "/tokens",
    "Nodes and kernel": "/nodes",
    "Audit log": "/audit",
    "Settings": "/settings",
}
# A browser that has nothing yet; one that has the files; and a link of another page.
COLUMNS = {
    "paint": "first paint",
    "ready": "ready",
    "interactive": "interactive",
    "warm": "ready, files kept",
    "link": "ready, by a link",
    "asked": "questions",
    "scripts": "scripts, kB",
}
# The list of apps while it scrolls.
FRAMES = {
    "frame_p50": "frame of the list of apps while it scrolls, median, ms",
    "frame_p99": "the same, 99th percentile, ms",
    "frame_max": "the same, longest, ms",
    "blank": "frames with a row that is blank",
    "filter_ms": "a letter typed into its filter, longest, ms",
    "sort_ms": "sorted by another column, longest, ms",
}
ROWS: Rows = {
    **{f"{page}/{column}": (f"{page}, {told}", "", True) for page in PAGES for column, told in COLUMNS.items()},
    **{key: (told, "", True) for key, told in FRAMES.items()},
}
_READY = "() => performance.getEntriesByName('ready').length > 0"
# What follows within this belongs to the page.
_WATCHED_MS = 1000
_SCRIPT = Path(__file__).with_suffix(".js").read_text()


@contextmanager
def _browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = next(filter(os.path.exists, CHROMIUM))
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def _open(context: Any, url: str, view: str, token: str) -> Any:
    """Return a page that is ready, and has been watched for a while."""
    page = context.new_page()
    page.add_init_script(_SCRIPT + (f"sessionStorage.setItem('token', '{token}');" if token else ""))
    page.goto(f"{url}/#{view}", wait_until="commit")
    page.wait_for_function(_READY)
    page.wait_for_timeout(_WATCHED_MS)
    return page


def _of_page(browser: Any, site: Edge, title: str, view: str) -> Figures:
    with_token = site.token(title) if view else ""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    cold = _open(context, site.url, view, with_token)
    figures: Figures = cold.evaluate("measured.figures()")
    cold.close()
    figures["warm"] = _open(context, site.url, view, with_token).evaluate("measured.figures()")["ready"]
    figures["link"] = figures["warm"]
    context.close()
    if view:
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = _open(context, site.url, "/settings" if view != "/settings" else "/tokens", with_token)
        page.evaluate("view => measured.follow(view)", view)
        page.wait_for_function(_READY)
        figures["link"] = page.evaluate("measured.followed()")
        if view == "/apps" and site.apps:
            page.wait_for_timeout(_WATCHED_MS)
            figures |= page.evaluate("measured.scrolled()")
        context.close()
    return figures


def measure_size(apps: int, pages: list[str], progress: Callable[[str], None]) -> Figures:
    """Return the figures of pages, by their titles, of an edge with so many more apps."""
    figures: Figures = {}
    with work_folder("pages") as folder, edge(folder, apps) as site, _browser() as browser:
        _of_page(browser, site, "warm-up", PAGES["Settings"])  # the processes of browser and daemon have begun
        for title in pages:
            found = _of_page(browser, site, title, PAGES[title])
            progress(f"{title}: " + ", ".join(f"{name} {value:,.0f}" for name, value in found.items()))
            figures |= {name if name in FRAMES else f"{title}/{name}": value for name, value in found.items()}
    return figures


def table(results: dict[str, Figures]) -> str:
    """Return Markdown tables: one for each number of apps, and the frames."""
    lines = []
    for name, figures in results.items():
        lines += [f"{name}; ms, where nothing else stands:", ""]
        lines += ["| page | " + " | ".join(COLUMNS.values()) + " |", "| --- |" + " ---: |" * len(COLUMNS)]
        for page in PAGES:
            if f"{page}/ready" in figures:
                lines.append(f"| {page} | " + " | ".join(f"{figures[f'{page}/{key}']:,.0f}" for key in COLUMNS) + " |")
        lines += ["", *(f"- {told}: {figures[key]:,.1f}" for key, told in FRAMES.items() if key in figures), ""]
    return "\n".join(lines).strip()


def write(text: str) -> Path:
    """Write the tables to benchmarks/results/ and return their path."""
    path = RESULTS / "pages.md"
    path.write_text(text + "\n")
    return path
