"""Tokens that may read a part of a page: what they may see is shown, and what they may not is said."""

import pytest

from spectrum.store.objects import file_id

MAY = {
    "all but pools": ("apps:read", "load_balancers:read", "monitors:read", "monitor_groups:read", "lists:read"),
    "pools": ("pools:read",),
    "analytics": ("analytics:read", "access_rules:read"),
    "diagnostics": ("diagnostics:read", "certificates:read"),
}
SHARED = file_id("load_balancers", "shared")
CASES = [
    ("/balancing", "all but pools", "h1:text-is('Load balancing')", "Your token may not read pools."),
    ("/balancing", "pools", "h1:has-text('down')", "Your token may not read load balancers."),
    (f"/balancing/{SHARED}", "all but pools", "h1:has-text('shared')", "nothing is known here of their health"),
    (f"/balancing/{SHARED}/edit", "all but pools", "h1:has-text('Settings of')", "Your token may not read pools."),
    (f"/balancing/pools/{file_id('pools', 'main')}", "pools", "h1:has-text('main')", "may not read load balancers"),
    (f"/balancing/monitors/{file_id('monitors', 'quick')}", "all but pools", "h1:has-text('quick')", "not read pools"),
    ("/apps", "all but pools", "tbody tr:has-text('echo')", "may not read pools"),
    (f"/apps/{file_id('apps', 'echo')}", "all but pools", "h1:has-text('echo')", "In the file"),
    ("/lists", "all but pools", "h1:text-is('Lists')", "Add a list"),
    ("/access", "analytics", "tbody tr:has-text('scanners')", "Your token may not read apps."),
    ("/clients/127.0.0.1", "analytics", "h2:text-is('Who it is')", "Your token may not read open sessions."),
    ("/clients/127.0.0.1", "diagnostics", "h1:text-is('It is connected now')", "Your token may not read records."),
    ("/certificates", "diagnostics", "h1:text-is('Certificates')", "There is none yet."),
    ("/tokens", "pools", "h1:text-is('This page cannot be shown')", "Your token may not read what this page is about."),
    ("/audit", "pools", "h1:text-is('Audit log')", "Your token does not allow this."),
    ("/apps", "pools", "h1:text-is('This page cannot be shown')", "Your token may not read what this page is about."),
]


@pytest.fixture(scope="module")
def token(site):
    """A function that returns a token that may this."""
    made: dict[str, str] = {}
    return lambda kind: made.get(kind) or made.setdefault(kind, site.make_token(kind, *MAY[kind]))


@pytest.mark.parametrize(("view", "kind", "shown", "said"), CASES, ids=[f"{one[0][:16]} {one[1]}" for one in CASES])
def test_what_may_be_seen_is_shown(look, site, token, accessible, view, kind, shown, said):
    page = look(view, token=token(kind))
    page.wait_for_selector(shown)
    page.wait_for_function("said => document.querySelector('main').innerText.includes(said)", arg=said)
    if view == "/balancing":
        accessible(page)


def test_live_figures_that_may_not_be_seen(look, token):
    page = look("/", token=token("pools"))
    page.wait_for_selector(".lost:has-text('No live figures. Your token may not read apps of this account.')")


def test_load_balancing_without_pools(look, token, screen):
    page = look("/balancing", token=token("all but pools"))
    page.wait_for_selector("tbody tr:has-text('shared')")
    assert page.locator("tbody tr:has-text('quick')").count() == 1
    assert page.get_by_role("link", name="Add a pool").count() == 0
    assert "all well" not in page.inner_text("main"), "nothing is said that is not known"
    screen(page, "balancing-without-pools")
