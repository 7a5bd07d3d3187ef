"""The keyboard, from a real one to a real page: layouts, dead keys, shortcuts, input methods, emoji, focus."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.isolated import Seat, quoted
from tests.support.isolated import isolation as isolation  # a fixture
from tests.support.isolated import sit as sit  # a fixture
from tests.support.isolated import site as site  # a fixture

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

FIELD = """<textarea id=t autofocus style='position:absolute;left:20px;top:20px;width:400px;height:100px'></textarea><script>
  t.oninput = () => document.title = 'value ' + t.value; onkeydown = e => { if (e.key.length === 1) keys.push(e.key + e.code + (e.getModifierState('AltGraph') ? 'G' : '') + (e.ctrlKey ? 'C' : '') + (e.altKey ? 'A' : '')); };
  const keys = []; window.onblur = () => {};</script>"""


async def press(
    seat: Seat, key: str, code: str, *, text: str | None = None, modifiers: int = 0, repeat: bool = False, location: int = 0
) -> None:
    """A key of any layout: what it says, where it is, what it types."""
    typed = key if text is None and len(key) == 1 and not modifiers & 6 else text or ""
    event = {"key": key, "code": code, "modifiers": modifiers, "location": location, "isKeypad": location == 3}
    if len(key) == 1 and key.isascii() and key.isalnum():
        event["windowsVirtualKeyCode"] = ord(key.upper())
    down: dict[str, Any] = {"type": "keyDown" if typed else "rawKeyDown", "autoRepeat": repeat, **event}
    if typed:
        down |= {"text": typed, "unmodifiedText": typed}
    await seat.cdp.send("Input.dispatchKeyEvent", down)
    await seat.cdp.send("Input.dispatchKeyEvent", {"type": "keyUp", **event})


async def focused(seat: Seat) -> None:
    """The page's field has the keyboard, and so has the viewer."""
    await seat.page.mouse.click(100, 60)
    await seat.true("document.activeElement === keys")


# What each layout's keys say: (key, code, modifiers as browsers report them).
LAYOUTS = {
    "QWERTZ": ([("z", "KeyY", 0), ("y", "KeyZ", 0), ("ö", "Semicolon", 0), ("ß", "Minus", 0), ("@", "KeyQ", 0), ("€", "KeyE", 3), ("{", "Digit7", 3)], "zyöß@€{"),
    "AZERTY": ([("a", "KeyQ", 0), ("q", "KeyA", 0), ("m", "Semicolon", 0), ("&", "Digit1", 0), ("1", "Digit1", 8), ("é", "Digit2", 0), ("ù", "Quote", 0)], "aqm&1éù"),
    "Dvorak": ([("o", "KeyS", 0), ("e", "KeyD", 0), ("u", "KeyF", 0), (";", "KeyZ", 0), ("S", "Semicolon", 8)], "oeu;S"),
    "Russian": ([("п", "KeyG", 0), ("р", "KeyH", 0), ("и", "KeyB", 0), ("в", "KeyD", 0), ("Ё", "Backquote", 8)], "привЁ"),
    "Greek": ([("σ", "KeyS", 0), ("ή", "KeyH", 0), ("Ω", "KeyV", 8)], "σήΩ"),
}  # fmt: skip


@pytest.mark.case(66)
@pytest.mark.feature("keyboard layouts: QWERTZ, AZERTY, Dvorak, Russian, Greek; AltGr", by="keyboard")
@pytest.mark.parametrize("layout", LAYOUTS)
async def test_layouts(sit: Any, layout: str) -> None:
    strokes, text = LAYOUTS[layout]
    async with sit(FIELD) as seat:
        await focused(seat)
        for key, code, modifiers in strokes:
            await press(seat, key, code, text=key, modifiers=modifiers)
        await seat.titled(f"value {text}".replace("{", r"\{"))


@pytest.mark.case(66)
@pytest.mark.feature("keys say what they are and where they are", by="keyboard")
async def test_a_page_sees_key_and_code(sit: Any) -> None:
    body = "<script>onkeydown = e => say(e.key, e.code, e.location, e.repeat); onkeyup = e => say('up', e.key)</script>"
    async with sit(body) as seat:
        await focused(seat)
        await press(seat, "z", "KeyY")
        await press(seat, "7", "Numpad7", location=3)
        await press(seat, "A", "KeyA")  # Caps Lock: no Shift
        await seat.titled(r"z KeyY 0 false\|up z\|7 Numpad7 3 false\|up 7\|A KeyA 0 false\|up A")


@pytest.mark.feature("key repeat", by="keyboard")
async def test_a_held_key_repeats(sit: Any) -> None:
    async with sit(FIELD) as seat:
        await focused(seat)
        held = {"key": "x", "code": "KeyX", "text": "x"}
        for repeat in (False, True, True, True):
            await seat.cdp.send("Input.dispatchKeyEvent", {"type": "keyDown", "autoRepeat": repeat, **held})
        await seat.cdp.send("Input.dispatchKeyEvent", {"type": "keyUp", "key": "x", "code": "KeyX"})
        await seat.titled("value xxxx")


@pytest.mark.case(66)
@pytest.mark.feature("dead keys", by="keyboard")
async def test_dead_keys(sit: Any) -> None:
    async with sit(FIELD) as seat:
        await focused(seat)
        await press(seat, "Dead", "BracketLeft", text="")
        await press(seat, "ê", "KeyE", text="ê")
        await press(seat, "Dead", "Equal", text="")
        await press(seat, "´", "Space", text="´")
        await press(seat, "x", "KeyX")
        await seat.titled("value ê´x")
        # As macOS and Linux tell it: by composition.
        await press(seat, "Dead", "BracketLeft", text="")
        await seat.cdp.send("Input.imeSetComposition", {"text": "^", "selectionStart": 1, "selectionEnd": 1})
        await seat.cdp.send("Input.insertText", {"text": "ô"})
        await seat.titled("value ê´xô")


@pytest.mark.feature("shortcuts, on every layout", by="keyboard")
async def test_shortcuts(sit: Any) -> None:
    body = (
        FIELD
        + "<script>addEventListener('keydown', e => { if (e.ctrlKey && e.key === 's') { e.preventDefault(); document.title = 'saved'; } })</script>"
    )
    async with sit(body) as seat:
        await focused(seat)
        await seat.page.keyboard.type("first ")
        await press(seat, "a", "KeyQ", modifiers=2)  # Ctrl+A of an AZERTY keyboard
        await press(seat, "X", "KeyX", text="X")
        await seat.titled("value X")
        await press(seat, "z", "KeyY", modifiers=2)  # Ctrl+Z of a QWERTZ keyboard
        await seat.titled("value first ?")
        await press(seat, "ф", "KeyA", modifiers=2)  # Ctrl+A of a Russian keyboard
        await seat.page.keyboard.type("new")
        await seat.titled("value new")
        await seat.page.keyboard.press("Control+ArrowLeft")
        await seat.page.keyboard.press("Delete")
        await seat.titled("value ew")
        await seat.page.keyboard.press("Control+s")
        await seat.titled("saved")


@pytest.mark.feature("scrolling: Page Down, End, Space, arrows", by="keyboard")
async def test_keys_scroll(sit: Any) -> None:
    # Chromium takes no key to scroll by between the last step of a scroll and its end, and on a busy machine a page that rests may be there: every key
    # must arrive once, and the page must come where it sends it; a key that Chromium did not scroll by is pressed again, as a person does.
    body = """<div style='height:5000px'></div><script>
      let resting = 0, arrived = 0;
      const rest = () => { clearTimeout(resting); resting = setTimeout(() => document.title = `${arrived} ${scrollY > 4000 ? 'end' : scrollY > 600 ? 'two' : scrollY > 300 ? 'one' : scrollY > 0 ? 'little' : 'top'}`, 300); };
      onscroll = onscrollend = rest;
      onkeydown = () => { arrived++; rest(); };
    </script>"""
    steps = [("ArrowDown", "little"), ("PageDown", "one"), ("Space", "two"), ("End", "end"), ("Home", "top")]
    async with sit(body) as seat:
        await focused(seat)
        pressed = 0
        for key, where in steps:
            for again in (True, True, False):
                await seat.page.keyboard.press(key)
                pressed += 1
                try:
                    await seat.titled(f"{pressed} {where}", 5)
                    break
                except AssertionError:
                    if not again:
                        raise


# What input methods show on their way, and what they commit.
METHODS = {
    "Japanese": (["n", "に", "にh", "にほ", "にほn", "にほん", "日本"], "日本"),
    "Chinese": (["n", "ni", "ni'h", "ni'hao"], "你好"),
    "Korean": (["ㅎ", "하", "한"], "한"),
}


@pytest.mark.case(66)
@pytest.mark.feature("input methods: Japanese, Chinese, Korean", by="keyboard")
@pytest.mark.parametrize("language", METHODS)
async def test_input_methods(sit: Any, language: str) -> None:
    steps, result = METHODS[language]
    body = (
        FIELD
        + """<script>const seen = []; for (const name of ['compositionstart', 'compositionupdate', 'compositionend'])
      t.addEventListener(name, e => { seen.push(name.slice(11) + ' ' + e.data); if (name === 'compositionend') setTimeout(() => document.title = seen.join('|') + '|' + t.value); })</script>"""
    )
    async with sit(body) as seat:
        await focused(seat)
        await seat.page.keyboard.type("a")
        await seat.titled("value a")
        for text in steps:
            await seat.cdp.send("Input.imeSetComposition", {"text": text, "selectionStart": len(text), "selectionEnd": len(text)})
            await seat.titled(f"value a{text}")  # the page shows what is being composed
        await seat.cdp.send("Input.insertText", {"text": result})
        await seat.titled(rf"start \|.*update {steps[-1]}.*\|end {result}\|a{result}")


@pytest.mark.feature("input methods: given up", by="keyboard")
async def test_a_composition_that_is_given_up_leaves_nothing(sit: Any) -> None:
    async with sit(FIELD) as seat:
        await focused(seat)
        await seat.page.keyboard.type("a")
        await seat.cdp.send("Input.imeSetComposition", {"text": "に", "selectionStart": 1, "selectionEnd": 1})
        await seat.titled("value aに")
        await seat.cdp.send("Input.imeSetComposition", {"text": "", "selectionStart": 0, "selectionEnd": 0})
        await seat.titled("value a")
        await seat.page.keyboard.type("b")
        await seat.titled("value ab")


async def test_candidates_are_shown_where_the_text_is(sit: Any) -> None:
    async with sit(
        "<input id=f style='position:absolute;left:300px;top:400px;width:200px;height:30px'><script>f.oninput = () => say(f.value)</script>"
    ) as seat:
        await seat.page.mouse.click(350, 415)
        await seat.true(
            "(() => { const b = keys.getBoundingClientRect(); return b.left >= 290 && b.left < 510 && b.bottom > 395 && b.bottom < 445; })()"
        )
        await seat.page.mouse.click(600, 100)  # nowhere in particular
        await seat.page.keyboard.press("Tab")
        await seat.true(
            "(() => { const b = keys.getBoundingClientRect(); return b.left >= 290 && b.left < 510 && b.bottom > 395 && b.bottom < 445; })()"
        )


@pytest.mark.case(66)
@pytest.mark.feature("emoji, also of several code points", by="keyboard")
async def test_emoji(sit: Any) -> None:
    async with sit(FIELD) as seat:
        await focused(seat)
        for text in ("😀", "👩‍💻", "🏳️‍🌈", "👨‍👩‍👧‍👦"):
            await seat.cdp.send("Input.insertText", {"text": text})
        await seat.titled("value 😀👩‍💻🏳️‍🌈👨‍👩‍👧‍👦")
        await seat.page.keyboard.press("Backspace")
        await seat.titled("value 😀👩‍💻🏳️‍🌈")


@pytest.mark.feature("autofocus and the caret", by="keyboard")
async def test_a_page_that_takes_the_focus_gets_the_keys(sit: Any) -> None:
    async with sit(
        "<input autofocus oninput='document.title = this.value' style='position:absolute;left:20px;top:20px'>"
    ) as seat:
        await seat.true("document.activeElement === keys")
        await seat.page.keyboard.type("at once")
        await seat.titled("at once")
        await seat.page.keyboard.press("Home")
        await seat.page.keyboard.press("ArrowRight")
        await seat.page.keyboard.type("-")
        await seat.titled("a-t once")


@pytest.mark.feature("Tab order, Enter and Space on what has the focus", by="keyboard")
async def test_tab_goes_through_the_page(sit: Any) -> None:
    body = """<input id=a><a id=b href='#here'>link</a><button id=c onclick="say('pressed')">b</button><input id=d type=checkbox onchange="say('ticked', this.checked)">
      <script>addEventListener('focusin', e => say(e.target.id)); onhashchange = () => say(location.hash)</script>"""
    async with sit(body) as seat:
        for key in ("Tab", "Tab", "Enter"):
            await seat.page.keyboard.press(key)
        await seat.titled(r"a\|b\|#here")  # a page hears of a new fragment some time after the key that brought it
        for key in ("Tab", "Space", "Tab", "Space", "Shift+Tab"):
            await seat.page.keyboard.press(key)
        await seat.titled(r"a\|b\|#here\|c\|pressed\|d\|ticked true\|c")


@pytest.mark.feature("drop-downs, dates and dialogs", by="keyboard")
async def test_pop_ups_by_keyboard(sit: Any) -> None:
    body = f"""<select autofocus onfocus="this.onfocus = null; say('has', 'keys')" onchange="say('chose', this.value)"><option>Alpha<option>Beta<option>Gamma</select>
      <input type=date value='2026-11-22' onchange="say('date', this.value)"><button onclick={quoted("say('answered', prompt('Name?'))")}>ask</button>"""
    async with sit(body) as seat:
        await seat.true("document.activeElement === keys")
        await seat.titled("has keys")  # Chromium shows a page before it gives the keyboard to what asks for it
        await seat.page.keyboard.press("Alt+ArrowDown")
        await seat.page.get_by_role("listbox").wait_for()
        await seat.page.keyboard.press("g")
        await seat.page.keyboard.press("Enter")
        await seat.titled(r"has keys\|chose Gamma")
        await seat.true("document.activeElement === keys")
        await seat.page.keyboard.press("Tab")
        await seat.page.keyboard.press("Alt+ArrowDown")
        field = seat.page.get_by_role("dialog").locator("input")
        await field.fill("2026-12-24")
        await field.press("Enter")
        await seat.titled(r"has keys\|chose Gamma\|date 2026-12-24")
        for _ in range(4):  # day, month, year, the calendar's button
            await seat.page.keyboard.press("Tab")
        await seat.page.keyboard.press("Enter")
        await seat.page.get_by_role("dialog").locator("input").wait_for()
        await seat.page.keyboard.type("Ada")
        await seat.page.keyboard.press("Enter")
        await seat.titled(r".*\|answered Ada")
