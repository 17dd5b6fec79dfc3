"""Access rules, lists, certificates and tokens."""

import re
import time

import pytest

from tests.dashboard.site import HOSTILE


@pytest.fixture(scope="module")
def account(site):
    return f"/accounts/{site.ask('GET', '/accounts')[0]['id']}"


def test_a_list_is_pasted_and_a_rule_names_it(look, site, account, screen, accessible):
    page = look("/lists/new")
    page.get_by_label("Name").fill("scanners")
    page.get_by_role("button", name="Review and add").click()
    page.get_by_role("button", name="Add scanners").click()
    page.wait_for_selector("h1:has-text('scanners')")
    page.get_by_label("Addresses and prefixes").fill("203.0.113.0/24 # first\n198.51.100.7, 2001:db8::/32\nnonsense\n")
    page.wait_for_selector("text=Line 3: “nonsense” is no address or prefix")
    page.get_by_role("button", name="Add 3").click()
    page.wait_for_selector("tbody tr:has-text('203.0.113.0/24')")
    assert "first" in page.inner_text("tbody tr:has-text('203.0.113.0/24')")
    page.get_by_label("Addresses and prefixes").fill("203.0.113.9/24")
    page.get_by_role("button", name="Add 1").click()
    page.wait_for_selector("#paste-s .err-line:has-text('Line 1')")
    screen(page, "list")
    accessible(page)
    page.get_by_label("Addresses and prefixes").fill("")
    page.get_by_role("button", name="Remove 198.51.100.7").click()
    page.wait_for_selector("tbody tr:has-text('198.51.100.7')", state="detached")

    page.goto(f"{site.url}/#/access/new")
    page.get_by_role("button", name="A list").click()
    page.get_by_label("Notes").fill(HOSTILE)
    page.wait_for_selector(".diff .add:has-text('list: scanners')")
    page.get_by_role("button", name="Review and add").click()
    page.locator("dialog .btn.primary").click()
    page.wait_for_selector("tbody tr:has-text('list scanners')")
    assert HOSTILE in page.inner_text("tbody tr:has-text('list scanners')")
    screen(page, "rules")
    accessible(page)
    rule = site.ask("GET", f"{account}/firewall/access_rules/rules")[-1]
    assert rule["configuration"] == {"target": "ip_range", "value": "$scanners"}
    page.locator("tbody tr:has-text('list scanners') a").first.click()
    page.get_by_role("button", name="Lets in").click()
    page.wait_for_selector(".diff .add:has-text('action: allow')")
    screen(page, "rule")
    accessible(page)


def test_a_fault_of_a_rule_is_at_its_field(look):
    page = look("/access/new")
    page.get_by_label("Address", exact=True).fill("1.2.3.456")
    page.get_by_role("button", name="Review and add").click()
    page.wait_for_selector(".f:has(label:text-is('Address')) .err:has-text('/configuration/value')")


def test_a_token_is_shown_once(look, site, screen, accessible):
    page = look("/tokens/new")
    page.get_by_label("Name").fill("ci")
    page.get_by_role("button", name="Choose").click()
    spectrum = page.locator(".f:has(.lab:text-is('Spectrum'))")
    spectrum.get_by_role("button", name="Read").click()
    page.get_by_label("Only from").fill("nonsense")
    screen(page, "token-new")
    accessible(page)
    page.get_by_role("button", name="Make the token").click()
    page.wait_for_selector(".err:has-text('/condition/request_ip/in')")
    page.get_by_label("Only from").fill("127.0.0.0/8")
    page.get_by_role("button", name="Make the token").click()
    page.wait_for_selector("dialog:has-text('never again')")
    screen(page, "token-made", full=False)
    accessible(page)
    text = page.get_by_label("The token", exact=True).input_value()
    page.get_by_role("button", name="I have it").click()
    row = page.locator("tbody tr:has-text('ci')")
    row.wait_for()
    assert text not in page.content()
    made = next(one for one in site.ask("GET", "/user/tokens") if one["name"] == "ci")
    assert [one["name"] for one in made["policies"][0]["permission_groups"]] == ["Spectrum Read"]
    row.get_by_role("link").click()
    page.get_by_role("button", name="Disable").click()
    page.wait_for_selector(".lede:has-text('It cannot be used')")
    screen(page, "token")
    accessible(page)
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name=re.compile("^Delete ci")).click()
    page.wait_for_selector("h1:text-is('Tokens')")
    assert "ci" not in [one["name"] for one in site.ask("GET", "/user/tokens")]


def test_certificates_that_end_come_first(look, screen, accessible):
    """What the page makes of an answer; real certificates do not end in nine days."""
    now = time.time()
    base = {"in_file": True, "revision": 0, "key": "ecdsa", "temporary": False, "used_by": [], "order": None}
    failing = {"ordering": False, "failures": 3, "failure": "the authority cannot reach port 80", "try_at": now + 3600}
    result = [
        base | {"id": "1", "name": "fine", "names": ["fine.example"], "ends_at": now + 80 * 86400},
        base | {"id": "2", "name": "mqtt", "names": [HOSTILE], "ends_at": now + 9.4 * 86400, "used_by": ["mqtt"]},
        base | {"id": "3", "name": "auto", "names": ["a.example"], "ends_at": now + 60 * 86400, "order": failing},
    ]
    page = look("/lists")
    answer = {"success": True, "errors": [], "messages": [], "result": result}
    page.route("**/spectrum/certificates", lambda route: route.fulfill(json=answer))
    page.goto("/#/certificates")
    page.wait_for_selector("h1:text-is('Two certificates need attention')")
    assert "ends in 9" in page.inner_text("tbody tr:first-child")
    assert "is not renewed: the authority cannot reach port 80" in page.inner_text("main .banner")
    assert HOSTILE in page.inner_text("tbody tr:first-child")
    screen(page, "certificates-ending")
    accessible(page)


def test_an_order_of_the_api_that_failed_is_given_again(look, accessible):
    now = time.time()
    failing = {"ordering": False, "failures": 1, "failure": f"the CA refuses {HOSTILE}", "try_at": now + 600}
    row = {"id": "4", "name": "a-1", "names": ["a.example"], "issuer": "", "key": "", "ends_at": now + 86400}
    row |= {"temporary": True, "order": failing, "zone_id": "z", "in_file": False, "revision": 3, "used_by": []}
    page, asked = look("/lists"), []

    def fulfil(route, result):
        asked.append((route.request.method, route.request.url.rpartition("/client/v4")[2]))
        route.fulfill(json={"success": True, "errors": [], "messages": [], "result": result})

    page.route("**/spectrum/certificates", lambda route: fulfil(route, [row]))
    page.route("**/ssl/certificate_packs/4", lambda route: fulfil(route, {"id": "4"}))
    page.goto("/#/certificates/4")
    page.wait_for_selector(".banner:has-text('the CA refuses')")
    assert page.locator("label:text-is('Private key')").count() == 0, "nothing replaces it"
    accessible(page)
    page.get_by_role("button", name="Order again").click()
    page.wait_for_selector(".toast:has-text('It is ordered again')")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete a-1").click()
    page.wait_for_selector("h1:has-text('ertificate')")
    changes = [one for one in asked if one[0] != "GET"]
    assert changes == [("PATCH", "/zones/z/ssl/certificate_packs/4"), ("DELETE", "/zones/z/ssl/certificate_packs/4")]


def test_read_only_users_are_informed(look, site, account, screen, accessible):
    body = {"mode": "block", "configuration": {"target": "ip", "value": "192.0.2.200"}}
    rule = site.ask("POST", f"{account}/firewall/access_rules/rules", body)["id"]
    page = look(f"/access/{rule}", token=site.make_token("reader", "all:read"))
    page.get_by_role("button", name="Lets in").click()
    page.get_by_role("button", name="Review and save").click()
    page.wait_for_selector("text=Your token may read this, and not change it.")
    accessible(page)
