"""The demo's people at their work: the same addresses, straight through for some and in an isolated browser for others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, WebSocket, expect

from tests.support.demo.person import SIZE, Box, Person, picture, run_cell, until
from tests.support.demo.running import Demo

pytestmark = [pytest.mark.browser, pytest.mark.demo, pytest.mark.timeout(240)]

Visit = Callable[..., Person]

QUERY = "select state, count(*) as n, round(sum(amount_eur)) as eur from payments group by state order by n desc"
TOTAL = "total 9399.0"
ISOLATED = pytest.mark.parametrize("name", ["Bob Brennan", "Carol Castellanos"], ids=["bob", "carol"])


def editor(page: Page) -> Any:
    """Return Datasette's SQL field."""
    return page.locator(".CodeMirror")


def content(page: Page) -> Box:
    """Return what lies above Datasette's footer, which says how long the query took."""
    footer = page.locator("footer").bounding_box()
    assert footer is not None
    return Box(0, 0, SIZE["width"], min(SIZE["height"] - 40, int(footer["y"])))


def notebook_ready(page: Page) -> Any:
    """Return the code cell of a notebook whose kernel is there."""
    cell = page.locator(".jp-CodeCell .jp-InputArea-editor").first
    cell.wait_for()
    expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']")).to_be_visible()
    return cell


# ---------------------------------------------------------------- straight through


def test_low_risk_queries_datasette_straight_through(demo: Demo, visit: Visit) -> None:
    alice = visit("Alice Archer", f"{demo.data}/payments")
    page = alice.page
    assert not alice.isolated
    editor(page).click()
    alice.press("Control+a")
    alice.type(QUERY)
    page.get_by_role("button", name="Run SQL").click()
    expect(page.locator("table.rows-and-columns tbody tr").first).to_contain_text("paid")
    assert "sql=select" in page.url
    alice.shot("query")


def test_low_risk_runs_a_notebook_cell_straight_through(demo: Demo, visit: Visit) -> None:
    notebook = demo.notebook("alice")
    alice = visit("Alice Archer", demo.auth)
    sockets: list[str] = []

    def opened(socket: WebSocket) -> None:  # Playwright takes no built-in method
        sockets.append(socket.url)

    alice.page.on("websocket", opened)
    alice.page.goto(f"{demo.lab}/lab/workspaces/alice/tree/{notebook}")
    assert not alice.isolated
    cell = Box.of(notebook_ready(alice.page))
    run_cell(alice.page, cell, lambda: alice.page.locator(".jp-OutputArea-output", has_text=TOTAL).count() > 0)
    kernel = demo.kernels(notebook)[0]["id"]
    assert any(url.startswith(f"ws://lab.localhost:{demo.port}/api/kernels/{kernel}/channels") for url in sockets)
    alice.shot("notebook")


# ---------------------------------------------------------------- isolated


@ISOLATED
def test_isolated_person_queries_datasette(demo: Demo, visit: Visit, straight: Page, name: str) -> None:
    straight.goto(demo.datasette)
    home = picture(straight)
    link = Box.of(straight.get_by_role("link", name="payments", exact=True).first)
    person = visit(name, f"{demo.data}/")
    person.sees("Datasette's first page", home)
    person.shot("home")
    assert person.page.title() == straight.title()
    assert person.isolated

    straight.goto(f"{demo.datasette}/payments")
    database, above = picture(straight), content(straight)
    field, run = Box.of(editor(straight)), Box.of(straight.get_by_role("button", name="Run SQL"))
    person.click(link)
    person.sees("the database", database, above)
    assert person.page.url == f"{demo.data}/payments"
    assert person.page.title() == straight.title()

    person.click(field)
    person.press("Control+a")
    person.type(QUERY)
    person.shot("typed")
    person.click(run)
    until(person.page, "the query in the address bar", lambda: "sql=select" in person.page.url)
    straight.goto(person.page.url.replace(demo.data, demo.datasette))
    expect(straight.locator("table.rows-and-columns tbody tr").first).to_contain_text("paid")
    person.sees("the query's result", picture(straight), content(straight))
    person.shot("result")
    assert person.page.title() == straight.title()

    person.page.go_back()
    person.sees("the page before", database, above)
    assert person.page.url == f"{demo.data}/payments"
    person.page.go_back()
    person.sees("the first page", home)
    assert person.page.url == f"{demo.data}/"
    person.page.go_forward()
    person.sees("the page after", database, above)
    assert person.page.url == f"{demo.data}/payments"
    person.page.reload()
    person.ready()
    person.sees("the same page after reload", database, above)
    assert person.page.url == f"{demo.data}/payments"


@ISOLATED
def test_isolated_person_opens_a_bookmark(demo: Demo, visit: Visit, straight: Page, name: str) -> None:
    deep = "/payments/suppliers?_sort=name"
    straight.goto(demo.datasette + deep)
    person = visit(name, demo.data + deep)
    person.sees("the bookmarked page", picture(straight), content(straight))
    assert person.page.url == demo.data + deep
    other = "/payments/payments?_sort_desc=amount_eur&state=queried"
    straight.goto(demo.datasette + other)
    second = person.tab(demo.data + other)
    second.sees("another bookmark in another tab", picture(straight), content(straight))
    assert second.page.title() == straight.title()
    assert (person.page.url, second.page.url) == (demo.data + deep, demo.data + other)


@ISOLATED
def test_isolated_person_runs_a_notebook_cell(demo: Demo, visit: Visit, straight: Page, name: str) -> None:
    who = name.split()[0].lower()
    notebook, example = demo.notebook(who), demo.notebook(f"example-of-{who}")
    straight.goto(f"{demo.jupyter}/lab/workspaces/example-{who}/tree/{example}")
    cell = Box.of(notebook_ready(straight))
    before = picture(straight)
    output = straight.locator(".jp-OutputArea-output", has_text=TOTAL)
    run_cell(straight, cell, lambda: output.count() > 0)
    after, result = picture(straight), Box.of(output)

    person = visit(name, f"{demo.lab}/lab/workspaces/{who}/tree/{notebook}")
    until(person.page, "the kernel", lambda: any(kernel["execution_state"] == "idle" for kernel in demo.kernels(notebook)))
    person.sees("the cell", before, cell)
    run_cell(person.page, cell, lambda: person.shows(after, result))
    person.shot("notebook")
    assert notebook in person.page.title()
    assert person.page.url == f"{demo.lab}/lab/workspaces/{who}/tree/{notebook}"
    person.press("Control+s")
    until(person.page, "the saved output", lambda: TOTAL in demo.outputs(notebook))


@ISOLATED
def test_indicator_says_why_and_names_a_reference_that_finds_the_entry(demo: Demo, visit: Visit, name: str) -> None:
    person = visit(name, f"{demo.data}/")
    person.ready()
    person.press("Control+Alt+i")
    panel = person.page.get_by_role("dialog")
    expect(panel).to_be_visible()
    rule = {"Bob Brennan": "High-risk users", "Carol Castellanos": "Contractors"}[name]
    paste = {"Bob Brennan": "Off", "Carol Castellanos": "Allowed"}[name]
    expect(panel).to_contain_text(rule)
    expect(panel.get_by_role("listitem").filter(has_text="Paste from your device")).to_contain_text(paste)
    expect(panel.get_by_role("listitem").filter(has_text="Copy to your device")).to_contain_text("Off")
    person.shot("panel")
    entry = json.loads(demo.product.isolation("audit", "find", panel.locator("code").inner_text()))
    assert entry["kind"] == "decision"
    assert entry["outcome"] == "isolate"
    assert entry["app"] == "Data"
    assert entry["person"] == f"{name.split()[0].lower()}@contoso.example"
    assert entry["detail"]["rules"] == [rule]


# ---------------------------------------------------------------- refused


def test_nobody_s_guest_gets_a_page_that_says_why(demo: Demo, visit: Visit) -> None:
    dave = visit("Dave Dietrich", f"{demo.data}/payments")
    page = dave.page
    dave.shot("refused")
    assert not dave.isolated
    expect(page.get_by_role("heading", level=1)).to_contain_text("access")
    text = page.locator("body").inner_text()
    assert "Data" in text
    assert "dave@contoso.example" in text
    found = re.search(r"\b[0-9A-Z]{4}-[0-9A-Z]{4}\b", text)
    assert found is not None, text
    entry = json.loads(demo.product.isolation("audit", "find", found[0]))
    assert (entry["kind"], entry["outcome"], entry["app"], entry["person"]) == (
        "decision",
        "refuse",
        "Data",
        "dave@contoso.example",
    )
    assert page.goto(f"{demo.data}/payments.json").status == 403
    page.goto(demo.auth)
    expect(page.locator("body")).not_to_contain_text("Supplier payments in Datasette")
    dave.shot("launcher")
