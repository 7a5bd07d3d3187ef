"""The viewer in a real browser: dialogs and pop-ups, and everything that can happen to the line, the browser and the decision."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from isolation.policy.controls import Clipboard, Controls
from isolation.testing.fake_node import FakePage
from renderer.wire import messages as m
from tests.support.viewer import OPEN, Open, Person, true, until
from tests.support.viewer import at_work as at_work  # a fixture
from tests.support.viewer import chromium as chromium  # a fixture
from tests.support.viewer import open_viewer as open_viewer  # a fixture
from tests.support.viewer import shared_viewer as shared_viewer  # a fixture

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


# ---------------------------------------------------------------- dialogs and pop-ups


@pytest.mark.feature("dialogs: alert, confirm, prompt", by="mouse")
@pytest.mark.feature("dialogs: beforeunload", by="mouse")
@pytest.mark.parametrize(
    ("kind", "press", "answer"),
    [
        (m.DialogKind.ALERT, "Enter", (True, "")),
        (m.DialogKind.ALERT, "Escape", (True, "")),
        (m.DialogKind.CONFIRM, "Escape", (False, "")),
        (m.DialogKind.CONFIRM, "Enter", (True, "")),
        (m.DialogKind.PROMPT, "Enter", (True, "BK")),
        (m.DialogKind.BEFORE_UNLOAD, "Escape", (False, "")),
    ],
)
async def test_dialogs(at_work: Person, kind: m.DialogKind, press: str, answer: tuple[bool, str]) -> None:
    person, remote = at_work, at_work.remote
    await remote.send(m.Dialog(7, kind, remote.origin, "Approve the run?", "BK"))
    dialog = person.page.get_by_role("dialog")
    await dialog.wait_for()
    if kind is not m.DialogKind.BEFORE_UNLOAD:
        assert person.site.origin in (await dialog.text_content() or "")
    await person.page.keyboard.press(press)
    reply = await person.got(m.DialogReply)
    assert (reply.id, reply.accept, reply.text) == (7, *answer)
    await dialog.wait_for(state="detached")
    await person.page.keyboard.type("x")
    await remote.wait_for(lambda it: [k.down for k in it.of(m.Key) if k.key == "x"] == [True, False])


async def test_who_stays_keeps_the_tabs_address(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await person.model.go(remote, "/people")
        await person.page.wait_for_url("**/people")
        model = person.site.node.script

        async def asks(page: FakePage, message: m.ToRenderer) -> None:
            if isinstance(message, m.History):
                await page.send(m.Dialog(1, m.DialogKind.BEFORE_UNLOAD, page.origin, "", ""))
            else:
                await model(page, message)

        person.site.node.script = asks
        await person.page.evaluate("history.back()")
        await person.page.get_by_role("button", name="Stay").click()
        await person.page.wait_for_url("**/people")


MONTHS = tuple(
    m.Option(name, "First half" if i < 2 else "Second half", i == 2, i == 0)
    for i, name in enumerate(("January", "February", "July", "August"))
)


async def drop_down(person: Person, *, multiple: bool = False) -> None:
    await person.remote.send(m.Select(3, m.SelectKind.OPTIONS, 40, 40, 160, 30, multiple, MONTHS, "", "", ""))
    await person.page.get_by_role("listbox").wait_for()


@pytest.mark.feature("drop-downs", by="keyboard")
@pytest.mark.feature("drop-downs: several choices", by="keyboard")
@pytest.mark.case(65)
@pytest.mark.parametrize(
    ("keys", "values"),
    [
        (["ArrowDown", "Enter"], ("1",)),
        (["ArrowDown", "ArrowDown", "Enter"], ("3",)),  # over the one that is disabled
        (["End", "ArrowUp", "Enter"], ("1",)),
        (["a", "Enter"], ("3",)),
        (["f", "e", "b", " "], ("1",)),
        (["Escape"], ()),
    ],
)
async def test_a_drop_down_by_keyboard(at_work: Person, keys: list[str], values: tuple[str, ...]) -> None:
    person = at_work
    await drop_down(person)
    for key in keys:
        if key == " ":
            await asyncio.sleep(0.9)  # a blank typed on would be part of the word
        await person.page.keyboard.press(key)
    assert await person.got(m.SelectReply) == m.SelectReply(3, values)
    assert await person.page.get_by_role("listbox").count() == 0
    assert person.remote.of(m.Key) == []


@pytest.mark.feature("drop-downs", by="mouse")
@pytest.mark.case(65)
async def test_a_drop_down_by_mouse(at_work: Person) -> None:
    person, remote = at_work, at_work.remote
    await drop_down(person)
    box = await person.page.locator(".popup").bounding_box()
    assert box is not None
    assert (round(box["x"]), round(box["y"])) == (40, 74)
    await person.page.get_by_role("option", name="July").click(force=True)
    await person.page.get_by_role("option", name="August").click()
    assert await person.got(m.SelectReply) == m.SelectReply(3, ("3",))
    await drop_down(person, multiple=True)
    await person.page.get_by_role("option", name="August").click()
    await person.page.get_by_role("button", name="Done").click()
    await remote.wait_for(lambda it: len(it.of(m.SelectReply)) == 2)
    assert remote.of(m.SelectReply)[1].values == ("0", "3")
    await drop_down(person)
    await person.page.mouse.click(700, 500)
    await remote.wait_for(lambda it: len(it.of(m.SelectReply)) == 3)
    assert remote.of(m.SelectReply)[2].values == ()
    assert remote.of(m.Pointer) == [] or all(p.kind is m.PointerKind.MOVE for p in remote.of(m.Pointer))


@pytest.mark.feature("date, time, month, week and colour inputs", by="keyboard")
@pytest.mark.case(65)
@pytest.mark.parametrize(
    ("kind", "value", "new"),
    [
        ("date", "2026-05-31", "2026-06-01"),
        ("time", "08:15", "09:30"),
        ("month", "2026-05", "2026-07"),
        ("datetime-local", "2026-05-31T08:15", "2026-06-01T09:00"),
        ("week", "2026-W20", "2026-W21"),
        ("color", "#00ff00", "#123456"),
    ],
)
async def test_inputs_with_pop_ups(at_work: Person, kind: str, value: str, new: str) -> None:
    person = at_work
    await person.remote.send(m.Select(4, m.SelectKind(kind), 40, 40, 160, 30, False, (), value, "", ""))
    field = person.page.locator(".popup input")
    assert await field.input_value() == value
    await field.fill(new)
    await person.page.get_by_role("button", name="Set").click()
    assert await person.got(m.SelectReply) == m.SelectReply(4, (new,))


async def test_a_control_that_goes_away_takes_its_pop_up_with_it(at_work: Person) -> None:
    person = at_work
    await drop_down(person)
    await person.remote.send(m.SelectClosed(3))
    await person.page.get_by_role("listbox").wait_for(state="detached")
    assert person.remote.of(m.SelectReply) == []


# ---------------------------------------------------------------- states


async def covered(person: Person, heading: str) -> None:
    await person.page.get_by_role("heading", name=heading).wait_for()


@pytest.mark.alone
async def test_a_crashed_browser_comes_back_at_the_same_address(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await person.model.go(remote, "/people?id=7")
        await person.page.wait_for_url("**/people?id=7")
        async with asyncio.timeout(3):
            await person.site.node.crash(remote.lease)
            await until(lambda: bool(person.site.node.pages) and bool(person.remote.of(m.Ack)))
        assert person.remote.of(m.Hello)[0].path == "/people?id=7"
        await person.live()
        assert person.page.url.endswith("/people?id=7")


@pytest.mark.alone
async def test_a_node_that_dies_is_shown_and_comes_back(open_viewer: Open) -> None:
    async with open_viewer() as person:
        await person.live()
        await person.site.node.stop()
        await covered(person, "The isolated browser stopped")
        async with asyncio.timeout(4):
            await person.site.node.start()
            await until(lambda: bool(person.site.node.pages) and bool(person.remote.of(m.Ack)))
        await person.live()


@pytest.mark.case(51)
async def test_a_page_that_kills_its_browser_again_and_again_is_not_opened_for_ever(open_viewer: Open) -> None:
    async with open_viewer() as person:
        for _ in range(6):
            await person.live()
            await person.site.node.crash(person.remote.lease)
            await until(lambda: not person.site.node.pages)
            if await person.page.get_by_role("heading", name="keeps stopping").count():
                break
            await asyncio.sleep(0.1)
            if not await person.page.get_by_role("heading", name="keeps stopping").count():
                await until(lambda: bool(person.site.node.pages))
        await covered(person, "This page keeps stopping its browser")
        assert len(person.site.node.starts) == 6


@pytest.mark.case(57, 62)
async def test_what_was_shown_goes_when_access_goes(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await remote.send(m.Clipboard("salaries"))
        await person.page.get_by_role("dialog", name="Copied text").wait_for()
        person.site.decide(None, "session-ended")
        await covered(person, "Your session has ended")
        assert await person.page.evaluate("[surface.width, surface.height]") == [1, 1]
        assert "salaries" not in await person.page.content()


@pytest.mark.feature("reconnect after a network loss, the page as it was", by="mouse")
@pytest.mark.case(56)
async def test_a_lost_connection_is_shown_and_regained(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await person.context.set_offline(True)
        await covered(person, "Connection lost")
        await person.page.get_by_role("button", name="Try now").wait_for()
        await person.context.set_offline(False)
        await person.live()
        assert remote.of(m.Hello)[-1].page == remote.id
        await person.page.keyboard.type("z")
        await remote.wait_for(lambda it: any(k.key == "z" for k in it.of(m.Key)))


@pytest.mark.case(59)
async def test_no_room_is_said_and_tried_again(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await remote.send(m.Closed(m.CloseCode.NO_CAPACITY))
        await covered(person, "All isolated browsers are in use")
        await person.page.get_by_role("button", name="Try now").click()
        await person.live()


async def test_who_waits_is_told_the_place_and_comes_in_by_itself(open_viewer: Open) -> None:
    async with open_viewer() as person:
        await person.live()
        node, leases = person.site.node, person.site.leases
        others = [leases.line.join(name, 0.0) for name in ("one", "two")]
        node.capacity = 0
        await node.become(node.state)
        await node.crash(next(iter(node.leases)))
        await covered(person, "You are number 3 in the queue")
        leases.line.served(others[0], 240.0)
        leases.line.leave(others[1], 240.0)
        await node.become(node.state)
        await covered(person, "You are next in the queue")
        node.capacity = 1
        await node.become(node.state)
        await person.live()


async def test_a_session_that_took_too_much_says_so(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await remote.send(m.Notice(m.NoticeCode.PAGE_HUNG))
        await person.page.get_by_role("button", name="Load again").click()
        await person.got(m.Reload)
        await remote.send(m.Closed(m.CloseCode.LIMIT_REACHED))
        await covered(person, "The page used too much")
        await person.page.get_by_role("button", name="Load again").click()
        await person.live()


@pytest.mark.case(26)
async def test_a_page_used_elsewhere_can_be_taken_back(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await remote.send(m.Closed(m.CloseCode.REPLACED))
        await covered(person, "Open in another tab")
        await person.page.get_by_role("button", name="Use it here").click()
        await person.live()
        assert remote.of(m.Hello)[-1].page == remote.id


async def test_a_released_person_gets_the_app_itself(open_viewer: Open) -> None:
    async with open_viewer() as person:
        await person.live()
        # Said for a second only: who looks now and then may miss it, and what a page that is being left still answers is lost.
        async with person.page.expect_console_message(lambda said: said.text == "Isolation is no longer needed"):
            await person.page.evaluate("""() => new MutationObserver(() => {
              const heading = document.querySelector("#cover:not([hidden]) h1")?.textContent;
              if (heading) console.log(heading);
            }).observe(document.getElementById("cover"), { attributes: true, childList: true, subtree: true })""")
            person.site.decide(None, "released")
        await person.page.get_by_text("the app itself").wait_for()


@pytest.mark.case(57)
async def test_changed_controls_load_the_viewer_again_and_keep_the_page(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        person.site.decide(Controls(), "redecided")
        await remote.wait_for(lambda it: len(it.of(m.Hello)) == 2)
        assert remote.of(m.Hello)[1].page == remote.id
        assert remote.of(m.Reload) == []  # what was typed there is still there
        await person.page.get_by_role("button", name="Isolated").click()
        await person.page.get_by_text("Paste from your deviceOff").wait_for()


async def test_a_session_that_is_gone_loads_again_but_not_for_ever(open_viewer: Open) -> None:
    async with open_viewer() as person:
        await person.live()
        # The router serves the page but refuses its stream and its tickets: nothing a reload can mend.
        refused = person.site.viewer.stream

        async def nobody(scope: Any, receive: Any, send: Any, _: Any) -> None:
            await refused(scope, receive, send, None)

        person.site.viewer.stream = nobody  # type: ignore[method-assign]
        forbidden: Callable[..., Awaitable[Any]] = person.site.viewer.ticket
        person.site.viewer.ticket = lambda request, _: forbidden(request, None)  # type: ignore[method-assign]
        before = len(person.requests)
        person.site.decide(OPEN, "redecided")
        await covered(person, "Something went wrong")
        assert sum(url.endswith("/run?month=5") for url in person.requests[before:]) <= 6


async def test_the_indicator_says_why_and_what(open_viewer: Open) -> None:
    async with open_viewer(controls=Controls(clipboard=Clipboard.TO_APP)) as person:
        remote = await person.live()
        await person.page.keyboard.press("Control+Alt+i")
        panel = person.page.get_by_role("dialog", name="Payroll is isolated")
        await panel.wait_for()
        text = await panel.text_content() or ""
        for part in (
            "High-risk users",
            "Paste from your deviceAllowed",
            "Copy to your deviceOff",
            "7KQ4-M2XD",
            "bob@contoso.example",
        ):
            assert part in text
        await panel.get_by_role("button", name="Reload page").click()
        assert await person.got(m.Reload) == m.Reload(False)
        await person.page.keyboard.type("y")
        await remote.wait_for(lambda it: any(k.key == "y" for k in it.of(m.Key)))


async def test_notices_are_shown_and_bounded(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        for code in m.NoticeCode:
            await remote.send(m.Notice(code))
        await person.page.locator(".toast").first.wait_for()
        await remote.send(m.Title("done"))
        await true(person.page, "document.title === 'done'")
        assert await person.page.locator(".toast").count() == 3
