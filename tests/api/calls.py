"""The table of calls in docs/api.md, from the routes: `python -m tests.api.calls` writes it."""

from pathlib import Path

from fastapi import FastAPI

from spectrum.api.openapi import document
from spectrum.api.routes import ROUTERS

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
MARK = "<!-- calls: `python -m tests.api.calls` writes this table -->\n"


def calls(prefix=""):
    """Return the OpenAPI document of all routes."""
    app = FastAPI()
    for router in ROUTERS:
        app.include_router(router, prefix=prefix)
    return document(app)


def operations(prefix=""):
    """Return the method and path of each call, without the seconds that the document takes."""
    routes = (route for router in ROUTERS for route in router.routes if route.include_in_schema)
    return [(method.lower(), prefix + route.path_format) for route in routes for method in sorted(route.methods)]


def table():
    """Return the table."""
    lines = ["| call | what it does |", "| --- | --- |"]
    found = [
        (path, method.upper(), operation.get("description", operation.get("summary", "")).partition("\n")[0])
        for path, item in calls()["paths"].items()
        for method, operation in item.items()
    ]
    lines += [f"| `{method} {path}` | {what} |" for path, method, what in found]
    return "\n".join(lines) + "\n"


def page(text):
    """Return the page with the table of today."""
    return text.partition(MARK)[0] + MARK + "\n" + table()


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
