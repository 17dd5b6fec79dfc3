"""Workers, kernel, limits and records of the node."""

from tests.dashboard.conftest import looks


@looks("desktop dark", more=("phone light",))
def test_the_node(look, site, screen, accessible, size, theme):
    page = look("/nodes", size, theme)
    assert page.inner_text("h1") in ("One worker serves", "Two workers, all serving")
    text = page.inner_text("main")
    for status in site.daemon.status()["workers"]:
        assert f"worker {status['number']}" in text
    assert "descriptors" in text
    assert "journal" in text
    screen(page, f"nodes-{size}-{theme}")
    accessible(page)
