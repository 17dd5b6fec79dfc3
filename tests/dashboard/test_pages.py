"""Pages as they are opened by their addresses, those that have no test of how they look in another file."""

import pytest

VIEWS = [
    *("/access", "/lists", "/certificates", "/tokens", "/access/new", "/tokens/new", "/lists/new"),
    *("/protection", "/protection/rulesets/new", "/protection/tcp_rules/new", "/protection/tcp_allowlist/new"),
]
AS = [("desktop", "light"), ("phone", "dark")]


@pytest.mark.parametrize(("view", "size", "theme"), [(view, *AS[i % 2]) for i, view in enumerate(VIEWS)])
def test_pages(look, screen, accessible, view, size, theme):
    page = look(view, size, theme)
    screen(page, f"{view.strip('/').replace('/', '-')}-{size}-{theme}")
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing scrolls sideways"
