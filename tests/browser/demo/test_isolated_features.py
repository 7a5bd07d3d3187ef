"""What a page may want of a browser: dialogs, windows, lists, the clipboard."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.support.demo.deployment import Deployment
from tests.support.demo.person import Box, Person, picture, until

pytestmark = [pytest.mark.browser, pytest.mark.demo, pytest.mark.timeout(240)]


Open = Callable[[str], Person]


@pytest.fixture
def tools(deployment: Deployment, visit: Callable[..., Person], straight: Page) -> Open:
    """Somebody at the tests' own page, who sees it: Chromium drops what is clicked before a page was painted."""
    straight.goto(f"http://127.0.0.1:{deployment.pages.port}/")
    expected = picture(straight)

    def open_tools(name: str) -> Person:
        person = visit(name, f"{deployment.origin('tools')}/", permissions=["clipboard-read", "clipboard-write"])
        person.sees("the tools", expected)
        deployment.pages.said.clear()
        return person

    return open_tools


def box(top: int) -> Box:
    """Return the place of one of the page's controls, which stand under each other."""
    return Box(20, top, 300, 40)


def says(person: Person, deployment: Deployment, text: str) -> None:
    """Wait until the page itself says so, to its app and in its title."""
    until(
        person.page, f"the page's {text!r}", lambda: text in deployment.pages.said and person.page.title() == f"Toolbox: {text}"
    )


def test_dialogs_are_shown_as_text_and_answered(deployment: Deployment, tools: Open) -> None:
    bob = tools("Bob Brennan")
    dialog = bob.page.get_by_role("alertdialog").or_(bob.page.get_by_role("dialog"))
    bob.click(box(20))
    expect(dialog).to_contain_text("Sums & <b>things</b>")
    bob.shot("alert")
    bob.press("Enter")
    says(bob, deployment, "undefined")
    bob.click(box(80))
    expect(dialog).to_contain_text("Really?")
    bob.press("Escape")
    says(bob, deployment, "false")
    bob.click(box(80))
    expect(dialog).to_contain_text("Really?")
    bob.press("Enter")
    says(bob, deployment, "true")
    bob.click(box(140))
    field = dialog.get_by_role("textbox")
    expect(field).to_have_value("May")
    bob.shot("prompt")
    bob.press("Control+a")
    bob.type("June")
    bob.press("Enter")
    says(bob, deployment, "June")


def test_new_windows_open_as_tabs(deployment: Deployment, tools: Open) -> None:
    bob = tools("Bob Brennan")
    for top, query in ((200, "tools"), (260, "link")):
        with bob.page.context.expect_page() as opening:
            bob.click(box(top))
        tab: Page = opening.value
        until(tab, "the window", lambda tab=tab: tab.title() == "A window")
        assert tab.url == f"{deployment.origin('tools')}/window?of={query}"
        assert tab.locator("canvas#surface").count() == 1
        tab.close()
    assert bob.page.url == f"{deployment.origin('tools')}/"


def test_a_list_is_chosen_from_by_keyboard(deployment: Deployment, tools: Open) -> None:
    bob = tools("Bob Brennan")
    bob.click(box(440))
    options = bob.page.get_by_role("option")
    expect(options).to_have_text(["first", "second", "third"])
    bob.shot("list")
    bob.press("ArrowDown")
    bob.press("Enter")
    says(bob, deployment, "second")


def test_text_is_typed(deployment: Deployment, tools: Open) -> None:
    carol = tools("Carol Castellanos")
    carol.click(box(320))
    carol.type("Zürich, 3 × 7 €")
    says(carol, deployment, "Zürich, 3 × 7 €")


@pytest.mark.parametrize(("name", "pastes"), [("Bob Brennan", False), ("Carol Castellanos", True)], ids=["bob", "carol"])
def test_clipboard_goes_only_where_the_controls_allow(deployment: Deployment, tools: Open, name: str, pastes: bool) -> None:
    person = tools(name)
    page = person.page
    # Reading and writing the device's clipboard is another tab's business: the viewer's own page may not read it.
    notes = page.context.new_page()
    notes.goto(f"http://localhost:{deployment.pages.port}/window")
    notes.evaluate("navigator.clipboard.writeText('from the device')")
    notes.wait_for_timeout(100)
    page.bring_to_front()
    person.click(box(320))
    person.press("Control+v")
    if pastes:
        says(person, deployment, "from the device")
    else:
        expect(page.locator("#toasts")).to_contain_text("Pasting from your device is turned off")
        person.type("x")
        says(person, deployment, "x")

    person.click(box(380))
    person.press("Control+a")
    person.press("Control+c")
    expect(page.locator("#toasts")).to_contain_text("Copying to your device is turned off")
    person.shot("copy")
    notes.bring_to_front()
    assert notes.evaluate("navigator.clipboard.readText()") == "from the device"
    page.bring_to_front()
    notes.close()
