"""The viewer in a real browser: what the node draws is what is seen, and what the person does arrives."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest

from isolation.policy.controls import Clipboard, Controls
from isolation.testing.fake_node import FakePage, paints
from renderer.capture.film import Film
from renderer.capture.surface import Rect, Surface
from renderer.wire import messages as m
from renderer.wire.frames import RECALL
from renderer.wire.glyphs import Glyphs, Stamp, layout, pack_glyphs
from tests.support.viewer import Open, picture, pixels, true
from tests.support.viewer import chromium as chromium  # a fixture
from tests.support.viewer import open_viewer as open_viewer  # a fixture

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


# ---------------------------------------------------------------- picture


async def test_the_picture_is_exact_through_paints_and_copies(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        expected = picture(900, 600)
        assert (await pixels(person.page) == expected).all()
        # two copies whose target is the other's source, and paints over them
        old = expected.copy()
        copies = (m.Copy(0, 0, 300, 100, 200, 150), m.Copy(300, 100, 0, 0, 200, 150), m.Copy(0, 40, 0, 0, 900, 500))
        for c in copies:
            expected[c.y : c.y + c.height, c.x : c.x + c.width] = old[c.sy : c.sy + c.height, c.sx : c.sx + c.width]
        expected[500:540, 600:700] = 77
        remote.seq += 1
        await remote.send(
            m.Frame(
                remote.seq,
                900,
                600,
                False,
                copies,
                (*paints(expected, 600, 500, 100, 40), m.Paint(0, 590, 900, 10, m.Encoding.FILL, b"\x01\x02\x03")),
            )
        )
        expected[590:600] = (1, 2, 3)
        await remote.wait_for(lambda it: it.of(m.Ack)[-1].seq == it.seq)
        assert (await pixels(person.page) == expected).all()


@pytest.mark.case(39)
async def test_a_picture_that_cannot_be_decoded_is_asked_for_again(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        good = paints(picture(900, 600), 0, 0, 100, 100)[0]
        broken = m.Paint(0, 0, good.width, good.height, good.encoding, good.data[:25] + bytes(len(good.data) - 25))
        remote.seq += 1
        await remote.send(m.Frame(remote.seq, 900, 600, False, (), (broken,)))
        await person.got(m.Refresh)
        await remote.wait_for(lambda it: it.of(m.Ack)[-1].seq == it.seq)
        assert (await pixels(person.page) == picture(900, 600)).all()


async def test_what_was_kept_is_shown_again(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        expected = picture(900, 600)
        kept = expected[100:300, 50:350].copy()
        await change(remote, m.Paint(0, 0, 900, 600, m.Encoding.FILL, b"\x10\x20\x30"), keeps=(m.Keep(7, 50, 100, 300, 200),))
        expected[:] = (16, 32, 48)
        await change(remote, recall(7, 0, 0, 400, 350, 300, 200), recall(7, 280, 190, 880, 590, 20, 10))
        expected[350:550, 400:700] = kept
        expected[590:600, 880:900] = kept[190:200, 280:300]
        await remote.wait_for(lambda it: it.of(m.Ack)[-1].seq == it.seq)
        assert (await pixels(person.page) == expected).all()
        assert not remote.of(m.Refresh)


async def test_glyphs_are_stamped_to_the_pixel(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        expected = picture(900, 600)
        sizes = ((64, 48), (200, 9), (7, 11), (1, 1))
        places, width, height = layout(sizes)
        sheet = np.random.default_rng(4).integers(0, 256, (height, width, 3), np.uint8)
        pieces = [sheet[y : y + h, x : x + w] for (x, y), (w, h) in zip(places, sizes, strict=True)]
        first = [Stamp(2, 5, 7), Stamp(2, 12, 7), Stamp(0, 836, 552), Stamp(1, 700, 0), Stamp(3, 0, 599)]
        later = [Stamp(0, 830, 540), Stamp(2, 6, 8)]
        await change(remote, glyphs(Glyphs(False, sizes, bytes(imagecodecs.webp_encode(sheet, lossless=True)), tuple(first))))
        await change(remote, m.Paint(5, 7, 20, 4, m.Encoding.FILL, b"\x10\x20\x30"), glyphs(Glyphs(False, (), b"", tuple(later))))
        again = bytes(imagecodecs.webp_encode(pieces[2], lossless=True))
        await change(remote, glyphs(Glyphs(True, ((7, 11),), again, (Stamp(0, 300, 300),))))
        for stamps in (first, None, later, [Stamp(2, 300, 300)]):
            if stamps is None:
                expected[7:11, 5:25] = (16, 32, 48)
                continue
            for number, x, y in stamps:
                expected[y : y + sizes[number][1], x : x + sizes[number][0]] = pieces[number]
        await remote.wait_for(lambda it: it.of(m.Ack)[-1].seq == it.seq)
        assert (await pixels(person.page) == expected).all()
        assert not remote.of(m.Refresh)


@pytest.mark.case(39)
async def test_a_sheet_that_cannot_be_decoded_is_asked_for_again(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        sheet = bytes(imagecodecs.webp_encode(picture(64, 48), lossless=True))
        broken = sheet[:25] + bytes(len(sheet) - 25)
        await change(remote, glyphs(Glyphs(False, ((64, 48),), broken, (Stamp(0, 0, 0),))))
        await person.got(m.Refresh)
        await remote.wait_for(lambda it: it.of(m.Ack)[-1].seq == it.seq)
        assert (await pixels(person.page) == picture(900, 600)).all()


@pytest.mark.parametrize("broken", ["the decoder is lost", "the film is noise"])
async def test_film_that_cannot_be_played_is_given_up(open_viewer: Open, broken: str) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        assert remote.of(m.Hello)[0].video
        film = Film(Rect(0, 0, 320, 200))
        first, second = (film.encode(Surface.of(np.roll(picture(320, 200), 5 * turn, axis=1))) for turn in range(2))
        await change(remote, m.Paint(64, 32, 320, 200, m.Encoding.VIDEO, first))
        await remote.wait_for(lambda it: it.of(m.Ack)[-1].seq == it.seq)
        if broken == "the film is noise":
            second = first[:10] + bytes((n * 89) % 256 for n in range(len(first) - 10))
        else:
            await person.page.evaluate("VideoDecoder.prototype.decode = () => { throw new Error('lost'); }; 0")
        await change(remote, m.Paint(64, 32, 320, 200, m.Encoding.VIDEO, second))
        assert await person.got(m.Refresh) == m.Refresh(False)
        await remote.wait_for(lambda it: it.of(m.Ack)[-1].seq == it.seq)
        assert (await pixels(person.page) == picture(900, 600)).all()


async def test_film_is_drawn_in_its_place_and_nowhere_else(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        film = Film(Rect(0, 0, 321, 203))
        shown = picture(900, 600)
        for turn in range(12):
            shown = np.roll(picture(900, 600), 3 * turn, axis=1)
            await change(remote, m.Paint(64, 32, 321, 203, m.Encoding.VIDEO, film.encode(Surface.of(shown))))
        await remote.wait_for(lambda it: it.of(m.Ack)[-1].seq == it.seq)
        drawn, expected = (await pixels(person.page)).astype(int), picture(900, 600).astype(int)
        inside = np.s_[32 : 32 + 203, 64 : 64 + 321]
        error = np.abs(drawn[inside] - shown[:203, :321])
        assert np.median(error) < 12  # lossy, and of the right colours
        drawn[inside] = expected[inside] = 0
        assert (drawn == expected).all()
        assert not remote.of(m.Refresh)


@pytest.mark.feature("page zoom, sharp", by="mouse")
@pytest.mark.feature("page zoom, sharp", by="keyboard")
@pytest.mark.case(68)
async def test_page_zoom_asks_for_finer_pictures_and_keeps_the_old_one_until_they_come(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        person.site.node.script = nothing
        session = await person.context.new_cdp_session(person.page)
        await session.send(
            "Emulation.setDeviceMetricsOverride", {"width": 600, "height": 400, "deviceScaleFactor": 1.5, "mobile": False}
        )
        await remote.wait_for(lambda it: bool(it.of(m.Resize)) and it.of(m.Resize)[-1] == m.Resize(600, 400, 150))
        assert await person.page.evaluate("[surface.width, surface.style.width]") == [900, "900px"]
        await remote.show(picture(900, 600))
        await true(person.page, "surface.style.width === '600px'")
        assert (await pixels(person.page) == picture(900, 600)).all()


@pytest.mark.feature("fine screens (HiDPI)", by="mouse")
@pytest.mark.case(68)
async def test_fine_screens_get_fine_pictures(open_viewer: Open) -> None:
    async with open_viewer(device_scale_factor=2, viewport={"width": 450, "height": 300}) as person:
        remote = await person.live()
        assert remote.of(m.Hello)[0].scale == 200
        assert await person.page.evaluate("[surface.width, surface.clientWidth]") == [900, 450]
        await person.page.mouse.click(225, 150)
        assert (await person.got(m.Pointer)).x == 225


@pytest.mark.feature("resizing the window", by="mouse")
async def test_a_window_that_changes_its_size_tells_so(open_viewer: Open) -> None:
    async with open_viewer() as person:
        await person.live()
        await person.page.set_viewport_size({"width": 700, "height": 500})
        await person.remote.wait_for(lambda it: bool(it.of(m.Resize)))
        await true(person.page, "surface.width === 700")
        assert person.remote.of(m.Resize) == [m.Resize(700, 500, 100)]  # and no word of a size that the page had


async def change(remote: FakePage, *paints: m.Paint, keeps: tuple[m.Keep, ...] = ()) -> None:
    remote.seq += 1
    await remote.send(m.Frame(remote.seq, 900, 600, False, (), paints, keeps))


def glyphs(what: Glyphs) -> m.Paint:
    return m.Paint(0, 0, 900, 600, m.Encoding.GLYPHS, pack_glyphs(what))


def recall(slot: int, sx: int, sy: int, x: int, y: int, width: int, height: int) -> m.Paint:
    return m.Paint(x, y, width, height, m.Encoding.RECALL, RECALL.pack(slot, sx, sy))


async def nothing(page: FakePage, message: m.ToRenderer) -> None:
    """A page that does not answer."""


# ---------------------------------------------------------------- input


async def test_typing(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await person.page.keyboard.type("Ab1 €")
        await person.page.keyboard.press("Control+Shift+Enter")
        await remote.wait_for(lambda it: any(k.key == "Control" and not k.down for k in it.of(m.Key)) and bool(it.of(m.Text)))
        typed = [k.key for k in remote.of(m.Key) if k.down]
        assert typed[:4] == ["A", "b", "1", " "]
        assert [t.text for t in remote.of(m.Text)] == ["€"]  # no key has it: it comes as text
        assert m.Key(True, "Enter", "Enter", 0, 10, False) in remote.of(m.Key)
        held = [(k.code, k.down) for k in remote.of(m.Key)]
        assert all(held.count((code, True)) == held.count((code, False)) for code, _ in held)


@pytest.mark.case(66)
async def test_an_input_method_composes(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        session = await person.context.new_cdp_session(person.page)
        await session.send("Input.imeSetComposition", {"text": "に", "selectionStart": 1, "selectionEnd": 1})
        await session.send("Input.imeSetComposition", {"text": "にほん", "selectionStart": 3, "selectionEnd": 3})
        await session.send("Input.insertText", {"text": "日本"})
        await remote.wait_for(lambda it: bool(it.of(m.Text)))
        assert [c.text for c in remote.of(m.Composition)][:2] == ["に", "にほん"]
        assert [t.text for t in remote.of(m.Text)] == ["日本"]
        await session.send("Input.insertText", {"text": "👩‍💻"})
        await remote.wait_for(lambda it: len(it.of(m.Text)) == 2)
        assert remote.of(m.Text)[1].text == "👩‍💻"


async def test_keys_are_let_go_when_the_window_loses_sight_of_them(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await person.page.keyboard.down("Shift")
        await person.page.evaluate("document.activeElement.blur()")
        await remote.wait_for(lambda it: any(not k.down for k in it.of(m.Key)))
        assert remote.of(m.Key)[-1].key == "Shift"


async def test_mouse(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        mouse = person.page.mouse
        await mouse.dblclick(100, 120)
        await mouse.click(50, 60, button="right")
        await mouse.move(10, 10)
        await mouse.down()
        for x in range(10, 400, 10):
            await mouse.move(x, 200)
        await mouse.up()
        await remote.wait_for(lambda it: sum(p.kind is m.PointerKind.UP for p in it.of(m.Pointer)) == 4)
        presses = [
            (p.kind, p.x, p.y, p.button, p.buttons, p.clicks) for p in remote.of(m.Pointer) if p.kind is not m.PointerKind.MOVE
        ]
        down, up = m.PointerKind.DOWN, m.PointerKind.UP
        assert presses == [
            (down, 100, 120, 0, 1, 1), (up, 100, 120, 0, 0, 1), (down, 100, 120, 0, 1, 2), (up, 100, 120, 0, 0, 2),
            (down, 50, 60, 2, 2, 1), (up, 50, 60, 2, 0, 1), (down, 10, 10, 0, 1, 1), (up, 390, 200, 0, 0, 1),
        ]  # fmt: skip
        # where the pointer went last comes before what it does there
        last = [p for p in remote.of(m.Pointer) if p.buttons == 1 and p.kind is m.PointerKind.MOVE][-1]
        assert (last.x, last.y) == (390, 200)


async def test_wheel_is_gathered_and_nothing_is_lost(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await person.page.mouse.move(300, 300)
        for _ in range(20):
            await person.page.mouse.wheel(0, 33)
        await remote.wait_for(lambda it: sum(w.dy for w in it.of(m.Wheel)) == 660)
        assert {(w.x, w.y, w.dx) for w in remote.of(m.Wheel)} == {(300, 300, 0)}


async def test_fingers_go_as_they_are(open_viewer: Open) -> None:
    async with open_viewer(has_touch=True) as person:
        remote = await person.live()
        session = await person.context.new_cdp_session(person.page)

        async def touch(kind: str, *points: tuple[int, int]) -> None:
            named = [{"id": i, "x": x, "y": y} for i, (x, y) in enumerate(points)]
            await session.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": named})

        await touch("Start", (300, 400), (100, 50))
        for y in (380, 340, 300):
            await touch("Move", (300, y), (100, 50))
        await touch("End")
        await remote.wait_for(lambda it: any(t.points == () for t in it.of(m.Touch)))
        touches = remote.of(m.Touch)
        start, move, end = m.TouchKind.START, m.TouchKind.MOVE, m.TouchKind.END
        assert [t.points for t in touches if t.kind is start][-1] == (m.TouchPoint(0, 300, 400), m.TouchPoint(1, 100, 50))
        assert [t.points for t in touches if t.kind is move][-1] == (m.TouchPoint(0, 300, 300), m.TouchPoint(1, 100, 50))
        assert touches[-1] == m.Touch(end, (), 0)
        assert remote.of(m.Wheel) == []
        assert not [p for p in remote.of(m.Pointer) if p.kind is m.PointerKind.DOWN]


@pytest.mark.feature("control: keyboard", by="keyboard")
@pytest.mark.case(35)
async def test_keyboard_off(open_viewer: Open) -> None:
    async with open_viewer(controls=Controls(keyboard=False)) as person:
        remote = await person.live()
        await person.page.keyboard.type("secret")
        await person.page.locator(".toast", has_text="Typing is turned off").wait_for()
        assert remote.of(m.Key) == remote.of(m.Text) == []


# ---------------------------------------------------------------- clipboard

PASTE = """text => { const data = new DataTransfer(); data.setData('text/plain', text); data.setData('text/html', '<b>x</b>');
  document.getElementById('keys').dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true})); }"""


@pytest.mark.feature("control: clipboard", by="keyboard")
@pytest.mark.parametrize(
    ("clipboard", "goes"),
    [(Clipboard.BOTH, True), (Clipboard.TO_APP, True), (Clipboard.FROM_APP, False), (Clipboard.NONE, False)],
)
async def test_paste_goes_where_the_controls_say(open_viewer: Open, clipboard: Clipboard, goes: bool) -> None:
    async with open_viewer(controls=Controls(clipboard=clipboard)) as person:
        remote = await person.live()
        await person.page.evaluate(PASTE, "two\nlines")
        if goes:
            assert await person.got(m.Paste) == m.Paste("two\nlines")
        else:
            await person.page.locator(".toast", has_text="Pasting from your device is turned off").wait_for()
            # The key goes, so that what was copied inside can be pasted inside.
            await person.page.keyboard.press("Control+v")
            await remote.wait_for(lambda it: any(k.key == "v" for k in it.of(m.Key)))
            assert remote.of(m.Paste) == []


async def test_copied_text_reaches_the_clipboard_or_is_offered(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await remote.send(m.Clipboard("first"))
        offer = person.page.get_by_role("dialog", name="Copied text")
        await offer.wait_for()
        assert await offer.locator("textarea").input_value() == "first"
        await person.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=person.site.origin)
        await offer.get_by_role("button", name="Copy").click()
        await offer.wait_for(state="detached")
        await remote.send(m.Clipboard("second"))
        await person.page.locator(".toast", has_text="Copied to your clipboard").wait_for()
