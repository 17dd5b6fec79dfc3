"""Overrides of managed rules, and Advanced TCP protection."""

import pytest

from tests.dashboard.site import HOSTILE


@pytest.fixture(scope="module")
def account(site):
    return f"/accounts/{site.ask('GET', '/accounts')[0]['id']}"


def test_an_override_is_made_and_changed(look, site, account, screen, accessible):
    page = look("/protection/rulesets/new")
    page.get_by_label("What it is called").fill(HOSTILE)
    page.get_by_label("For attacks with").fill("ip.dts in {203.0.113.0/28}")
    page.get_by_role("button", name="Review and add").click()
    page.wait_for_selector(".err:has-text('there is no field ip.dts here')")
    page.get_by_label("For attacks with").fill("ip.dst in {203.0.113.0/28}")
    page.get_by_label("All rules: sensitivity").select_option("medium")
    page.get_by_role("button", name="Add a category").click()
    page.get_by_label("Category", exact=True).select_option("dns")
    page.locator(".item .item").get_by_label("What becomes of it").select_option("log")
    page.wait_for_selector(".diff .add:has-text('category: dns')")
    screen(page, "protection-override")
    accessible(page)
    page.get_by_role("button", name="Review and add").click()
    page.locator("dialog .btn.primary").click()
    page.wait_for_selector("td:has-text('all: medium; dns: count only')")
    assert HOSTILE in page.inner_text("main")
    made = site.ask("GET", f"{account}/rulesets/phases/ddos_l4/entrypoint")
    (rule,) = made["rules"]
    assert rule["action_parameters"]["overrides"] == {
        "sensitivity_level": "medium",
        "categories": [{"category": "dns", "action": "log"}],
    }
    page.get_by_role("link", name="Change").click()
    page.get_by_label("All rules: what becomes of it").select_option("log")
    page.wait_for_selector(".diff .add:has-text('action: log')")
    page.get_by_role("button", name="Review and save").click()
    page.locator("dialog .btn.primary").click()
    page.get_by_text("No change").wait_for()
    (changed,) = site.ask("GET", f"{account}/rulesets/phases/ddos_l4/entrypoint")["rules"]
    assert changed["id"] == rule["id"] and changed["action_parameters"]["overrides"]["action"] == "log"
    page.get_by_role("button", name="Delete").click()
    page.locator("dialog .btn.danger").click()
    page.get_by_text("Managed rules are as they are").wait_for()


def test_tcp_protection(look, site, account, screen, accessible):
    page = look("/protection/tcp_rules/new")
    page.get_by_role("button", name="All other packets").click()
    page.get_by_role("button", name="Review and add").click()
    page.wait_for_selector(".f:has(.lab:text-is('What it does')) .err:has-text('it needs the filter')")
    page.get_by_role("button", name="Off", exact=True).click()
    page.wait_for_selector(".diff .add:has-text('component: tcp_flow_protection')")
    page.get_by_role("button", name="Review and add").click()
    page.locator("dialog .btn.primary").click()
    page.wait_for_selector("td:has-text('All other packets, everywhere')")
    page.get_by_role("link", name="Allow a source").click()
    page.get_by_label("Sources").fill("192.0.2.0/24")
    page.get_by_role("button", name="Review and add").click()
    page.locator("dialog .btn.primary").click()
    page.wait_for_selector("td:has-text('Source 192.0.2.0/24')")
    assert "on, without effect: there is no filter" in page.inner_text("main")
    screen(page, "protection")
    accessible(page)
    page.get_by_role("link", name="Rule", exact=True).click()
    page.locator(".f:has(.lab:text-is('Sensitivity'))").get_by_role("button", name="high").click()
    page.wait_for_selector(".diff .add:has-text('rate_sensitivity: high')")
    page.get_by_role("button", name="Review and save").click()
    page.locator("dialog .btn.primary").click()
    page.get_by_text("No change").wait_for()
    configs = f"{account}/magic/advanced_tcp_protection/configs"
    (rule,) = site.ask("GET", f"{configs}/tcp_flow_protection/rules")
    assert (rule["mode"], rule["rate_sensitivity"]) == ("disabled", "high")
    page.goto(f"{site.url}/#/protection")
    page.get_by_role("button", name="Switch off").click()
    page.locator("dialog .btn.danger").click()
    page.get_by_role("button", name="Switch on").wait_for()
    assert site.ask("GET", f"{configs}/tcp_protection_status") == {"enabled": False}
