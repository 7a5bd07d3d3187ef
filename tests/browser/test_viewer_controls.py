"""The viewer in a real browser: what the controls show in it, and what asks the person something."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isolation.policy.controls import Controls
from isolation.testing.clock import FakeClock
from renderer.wire import messages as m
from tests.support.viewer import Open, Person, true, until
from tests.support.viewer import at_work as at_work  # a fixture
from tests.support.viewer import chromium as chromium  # a fixture
from tests.support.viewer import open_viewer as open_viewer  # a fixture
from tests.support.viewer import shared_viewer as shared_viewer  # a fixture

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]
LOOK = os.environ.get("ISOLATION_LOOK", "")  # a directory: pictures to be looked at go there
PHONE, LAPTOP = {"width": 390, "height": 780}, {"width": 1280, "height": 720}


async def look(person: Person, name: str) -> None:
    if not LOOK:
        return
    for size_name, size in (("phone", PHONE), ("laptop", LAPTOP)):
        await person.page.set_viewport_size(size)  # type: ignore[arg-type]
        for scheme in ("light", "dark"):
            await person.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            await person.page.wait_for_timeout(500)
            await person.page.screenshot(path=str(Path(LOOK, f"{name}-{size_name}-{scheme}.png")))


# ---------------------------------------------------------------- notice and watermark


@pytest.mark.feature("control: on-screen notice", by="mouse")
@pytest.mark.case(37)
async def test_notices_are_text_until_they_are_dismissed(open_viewer: Open) -> None:
    texts = frozenset({"Payroll data stays here.", "<img src=x onerror=alert(1)> Work here is recorded."})
    async with open_viewer(controls=Controls(notice=texts)) as person:
        await person.live()
        bar = person.page.get_by_role("region", name="Notices")
        assert set(await bar.locator("p").all_text_contents()) == texts
        assert await bar.locator("img").count() == 0
        await look(person, "notice")
        for _ in range(2):
            await bar.get_by_role("button", name="Dismiss").first.click()
        assert not await bar.is_visible()


@pytest.mark.feature("control: watermark", by="mouse")
@pytest.mark.case(46)
async def test_the_viewer_marks_the_page_whatever_the_renderer_draws(open_viewer: Open) -> None:
    """The renderer lies: its picture is plain white. The page behind the mark stays usable."""
    async with open_viewer(controls=Controls(watermark=True)) as person:
        await person.live()
        marked = (
            "(() => { const c = document.querySelector('.watermark'); const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            " let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n / (d.length / 4); })()"
        )
        assert await person.page.evaluate(marked) > 0.01
        assert "bob@contoso.example" in (await person.page.locator(".watermark").get_attribute("data-drawn") or "")
        await person.page.mouse.click(400, 300)
        await person.got(m.Pointer)
        await look(person, "watermark")
    async with open_viewer() as person:
        await person.live()
        assert await person.page.locator(".watermark").count() == 0


# ---------------------------------------------------------------- time


async def pass_time(clock: FakeClock, seconds: float) -> None:
    await until(lambda: bool(clock.sleeping))
    await clock.elapse(seconds)


@pytest.mark.feature("session end with warning", by="mouse")
async def test_the_warning_counts_down_and_somebody_who_is_there_stays(open_viewer: Open) -> None:
    clock = FakeClock()
    async with open_viewer(controls=Controls(idle_minutes=10), clock=clock) as person:
        await person.live()
        await pass_time(clock, 545)
        warning = person.page.get_by_role("alertdialog")
        await warning.wait_for()
        assert "ends in" in (await warning.text_content() or "")
        await look(person, "ending")
        await warning.get_by_role("button", name="I’m still here").click()
        await person.got(m.Wheel)
        await warning.wait_for(state="detached")


@pytest.mark.feature("session end with warning", by="keyboard")
@pytest.mark.parametrize(
    ("controls", "says"),
    [(Controls(idle_minutes=5), "The isolated browser was ended"), (Controls(total_minutes=5), "Your time here is up")],
)
async def test_an_end_says_why_and_offers_to_open_again(open_viewer: Open, controls: Controls, says: str) -> None:
    clock = FakeClock()
    async with open_viewer(controls=controls, clock=clock) as person:
        await person.live()
        await pass_time(clock, 301)
        await person.page.get_by_role("heading", name=says).wait_for()
        await true(person.page, "surface.width === 0 || surface.style.width === '0px' || surface.style.width === ''")
        await look(person, "end-idle" if controls.total_minutes is None else "end-time")
        async with person.page.expect_event("domcontentloaded"):
            await person.page.keyboard.press("Enter")  # the button has the focus
        await until(lambda: len(person.site.node.starts) == 2)
        await person.live()


@pytest.mark.feature("control: tabs", by="mouse")
async def test_one_tab_too_many_says_so_and_tries_again(open_viewer: Open) -> None:
    async with open_viewer(controls=Controls(tabs=1)) as person:
        await person.live()
        second = await person.context.new_page()
        await second.goto(person.site.origin + "/people")
        await second.get_by_role("heading", name="As many tabs as allowed are open").wait_for()
        await person.page.goto("about:blank")
        await until(lambda: person.site.relay.streams == 0)
        await second.get_by_role("button", name="Try again").click()
        await true(second, "parseFloat(surface.style.width) > 0 && !document.body.classList.contains('covered')")


# ---------------------------------------------------------------- name and password


@pytest.mark.feature("HTTP authentication", by="keyboard")
async def test_name_and_password_by_keyboard(at_work: Person) -> None:
    person, remote = at_work, at_work.remote
    await remote.send(m.Auth(11, "https://files.corp.example", "<b>Archive</b>"))
    dialog = person.page.get_by_role("dialog")
    await dialog.wait_for()
    text = await dialog.text_content() or ""
    assert "files.corp.example" in text
    assert "<b>Archive</b>" in text
    await look(person, "auth")
    await person.page.keyboard.type("bob")
    await person.page.keyboard.press("Enter")
    await person.page.keyboard.type("hunter2")
    await person.page.keyboard.press("Enter")
    assert await person.got(m.AuthReply) == m.AuthReply(11, True, "bob", "hunter2")
    await dialog.wait_for(state="detached")
    assert remote.of(m.Key) == []


@pytest.mark.feature("HTTP authentication", by="mouse")
async def test_name_and_password_cancelled_by_mouse(at_work: Person) -> None:
    person, remote = at_work, at_work.remote
    await remote.send(m.Auth(12, remote.origin, ""))
    dialog = person.page.get_by_role("dialog")
    await dialog.get_by_label("Password").fill("hunter2")
    await dialog.get_by_role("button", name="Cancel").click()
    assert await person.got(m.AuthReply) == m.AuthReply(12, False, "", "")


# ---------------------------------------------------------------- links for the device, permissions


@pytest.mark.feature("mailto: and tel: links offered to the device", by="mouse")
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mailto:carol@contoso.example?subject=Run%205&body=Hello", "carol@contoso.example"),
        ("tel:+43-1-2345", "+43-1-2345"),
        ("sms:+4312345", "+4312345"),
    ],
)
async def test_links_for_the_device_are_offered_by_name(at_work: Person, url: str, says: str) -> None:
    person, remote = at_work, at_work.remote
    await remote.send(m.External(url))
    offer = person.page.get_by_role("dialog")
    await offer.wait_for()
    assert says in (await offer.text_content() or "")
    assert await offer.get_by_role("link", name="Open").get_attribute("href") == url
    await look(person, "external-" + url.partition(":")[0])
    await offer.get_by_role("button", name="Cancel").click()
    await offer.wait_for(state="detached")


@pytest.mark.feature("permission prompts denied and shown", by="mouse")
async def test_a_denied_permission_names_who_asked(at_work: Person) -> None:
    person, remote = at_work, at_work.remote
    await remote.send(m.Permission(m.PermissionKind.CAMERA))
    toast = person.page.locator(".toast", has_text="use the camera")
    await toast.wait_for()
    assert remote.origin in (await toast.text_content() or "")
    await look(person, "permission")


# ---------------------------------------------------------------- suggestions


@pytest.mark.feature("datalist", by="mouse")
async def test_suggestions_leave_the_keyboard_with_the_page(at_work: Person) -> None:
    person, remote = at_work, at_work.remote
    options = (m.Option("<b>Vienna</b>", "", False, True), m.Option("Oslo", "", False, False))
    await remote.send(m.Select(31, m.SelectKind.DATALIST, 40, 40, 200, 24, False, options, "", "", ""))
    suggestions = person.page.get_by_role("listbox", name="Suggestions")
    await suggestions.wait_for()
    assert await suggestions.get_by_role("option").all_text_contents() == ["<b>Vienna</b>", "Oslo"]
    if LOOK:  # another size would close it
        await person.page.screenshot(path=str(Path(LOOK, "datalist.png")))
    await person.page.keyboard.type("x")
    await remote.wait_for(lambda it: [k.down for k in it.of(m.Key) if k.key == "x"] == [True, False])
    await suggestions.get_by_role("option", name="Oslo").click()
    assert await person.got(m.SelectReply) == m.SelectReply(31, ("1",))
    await suggestions.wait_for(state="detached")
