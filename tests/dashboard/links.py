"""Which addresses of the dashboard have a page, and what those pages read of what stands behind the `?`."""

import re

from spectrum.api.dashboard import FOLDER

_ROUTE = re.compile(r"^  \['(/[^']*)',", re.MULTILINE)
ROUTES = [re.compile(re.sub(r":\w+", "[^/]+", route)) for route in _ROUTE.findall((FOLDER / "js/pages.js").read_text())]
_RANGE = {"last", "since", "until"}
QUERIES = {
    "/": _RANGE,
    "/access": {"q"},
    "/access/new": {"value", "mode", "notes"},
    "/analytics": _RANGE | {"m", "by", "vs", "as", "p", "f", "more"},
    "/apps": {"q"},
    "/apps/new": {"preset"},
    "/attacks": {"q"},
    "/audit": {"q", "last", "resource", "by"},
    "/balancing/monitors/new": {"preset"},
    "/balancing/pools/new": {"name"},
    "/report": {"of", "since", "until"},
    "/sessions": {"client", "app", "origin", "sort"},
}


def faults(path: str, names: set[str]) -> list[str]:
    """Return what is wrong with a link to a path with these names behind it."""
    if not any(route.fullmatch(path) for route in ROUTES):
        return [f"no page has the address {path}"]
    # All pages take the range along.
    return [f"{path} does not read {name}" for name in sorted(names - QUERIES.get(path, set()) - _RANGE)]
