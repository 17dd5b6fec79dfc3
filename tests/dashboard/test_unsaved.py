"""What was typed and not saved: who leaves is asked, by whatever way they leave."""

import pytest

LEAVE = "dialog:has-text('Leave without saving?')"
TYPED = {"/access/new": "Notes", "/tokens/new": "Name", "/certificates/new": "Private key"}


@pytest.mark.parametrize("view", TYPED)
def test_leaving_with_unsaved_changes_asks(look, view):
    page = look(view)
    page.get_by_label(TYPED[view]).fill("typed")
    page.get_by_role("link", name="Audit log").click()
    page.wait_for_selector(LEAVE)
    assert page.url.endswith(f"#{view}"), "the address is that of what is shown"
    page.get_by_role("button", name="Stay").click()
    assert page.get_by_label(TYPED[view]).input_value() == "typed"
    page.get_by_role("link", name="Audit log").click()
    page.get_by_role("button", name="Leave").click()
    page.wait_for_selector(".audit-span")
    assert "#/audit" in page.url
    page.get_by_role("link", name="Nodes and kernel").click()
    page.wait_for_selector("h2:text-is('Workers')")


def test_by_the_keyboard_back_and_to_another_tab(look, screen, accessible):
    page = look("/access")
    page.get_by_role("link", name="Add a rule").first.click()
    page.get_by_label("Notes").fill("typed")
    page.go_back()
    page.wait_for_selector(LEAVE)
    screen(page, "unsaved", full=False)
    accessible(page)
    page.keyboard.press("Escape")
    page.wait_for_selector(LEAVE, state="detached")
    assert page.url.endswith("#/access/new") and page.get_by_label("Notes").input_value() == "typed"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("g")
    page.keyboard.press("o")
    page.wait_for_selector(LEAVE)
    page.get_by_role("button", name="Stay").click()
    asked = []
    page.on("dialog", lambda one: (asked.append(one.type), one.dismiss()))
    page.close(run_before_unload=True)
    page.wait_for_timeout(300)
    assert asked == ["beforeunload"]


def test_no_question_without_changes(look):
    page = look("/access/new")
    page.get_by_label("Notes").fill("typed")
    page.get_by_role("button", name="Discard").click()
    page.get_by_role("link", name="Nodes and kernel").click()
    page.wait_for_selector("h2:text-is('Workers')")
    assert not page.locator("dialog").count()
