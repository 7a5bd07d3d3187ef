"""Keys in DOM terms → the parameters of ``Input.dispatchKeyEvent``. Pure.

The browser runs on Linux and its pages expect Linux: Control for shortcuts, Home and End for lines. A person whose keyboard uses Command
gets the same through a mapping. Chromium for Linux carries out editing shortcuts by itself when the key arrives with its Windows key code;
what has no Linux key goes as an editing command.
"""

from __future__ import annotations

from dataclasses import replace

from renderer.wire.messages import Key

ALT, CTRL, META, SHIFT = 1, 2, 4, 8

# Windows virtual-key codes (winuser.h); Chromium's KeyboardEvent.keyCode and editing shortcuts hang on them.
_NAMED = {
    "Backspace": 8,
    "Tab": 9,
    "Enter": 13,
    "Shift": 16,
    "Control": 17,
    "Alt": 18,
    "AltGraph": 18,
    "Pause": 19,
    "CapsLock": 20,
    "Escape": 27,
    " ": 32,
    "PageUp": 33,
    "PageDown": 34,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "PrintScreen": 44,
    "Insert": 45,
    "Delete": 46,
    "Meta": 91,
    "ContextMenu": 93,
    "NumLock": 144,
    "ScrollLock": 145,
} | {f"F{n}": 111 + n for n in range(1, 25)}
_BY_CODE = {
    "Semicolon": 186,
    "Equal": 187,
    "Comma": 188,
    "Minus": 189,
    "Period": 190,
    "Slash": 191,
    "Backquote": 192,
    "BracketLeft": 219,
    "Backslash": 220,
    "BracketRight": 221,
    "Quote": 222,
    "IntlBackslash": 226,
    "NumpadMultiply": 106,
    "NumpadAdd": 107,
    "NumpadSubtract": 109,
    "NumpadDecimal": 110,
    "NumpadDivide": 111,
} | {f"Numpad{n}": 96 + n for n in range(10)}

# Command shortcuts of macOS text fields and what they are on Linux: key, code, modifiers put in place of Command.
_MAC_MOVES = {
    "ArrowLeft": ("Home", "Home", 0),
    "ArrowRight": ("End", "End", 0),
    "ArrowUp": ("Home", "Home", CTRL),
    "ArrowDown": ("End", "End", CTRL),
}
_MAC_COMMANDS = {"Backspace": "deleteToBeginningOfLine", "Delete": "deleteToEndOfLine"}


def linux_key(key: Key) -> Key:
    """Translate a key of a Command keyboard to what the same intention is on Linux."""
    if key.key == "Meta":
        modifiers = key.modifiers & ~META | (CTRL if key.down else 0)
        return replace(key, key="Control", code="ControlRight" if key.location == 2 else "ControlLeft", modifiers=modifiers)
    if key.modifiers & META and not key.modifiers & CTRL:
        rest = key.modifiers & ~META
        if key.key in _MAC_MOVES:
            name, code, added = _MAC_MOVES[key.key]
            return replace(key, key=name, code=code, modifiers=rest | added, location=0)
        if key.key in _MAC_COMMANDS:
            return key
        return replace(key, modifiers=rest | CTRL)
    if key.modifiers & ALT and key.key in {"ArrowLeft", "ArrowRight", "Backspace", "Delete"}:
        return replace(key, modifiers=key.modifiers & ~ALT | CTRL)  # by words
    return key


def virtual_key(key: Key) -> int:
    """Return the Windows virtual-key code, 0 when there is none (text of other scripts)."""
    if key.code in _BY_CODE and key.key not in _NAMED:
        return _BY_CODE[key.code]
    if key.key in _NAMED:
        return _NAMED[key.key]
    if len(key.key) == 1 and key.key.isascii() and key.key.isalnum():
        return ord(key.key.upper())
    # Layouts whose letters are not Latin: the position gives the code, so that Ctrl+С on a Russian keyboard copies.
    if key.code.startswith("Key") and len(key.code) == 4:
        return ord(key.code[3])
    if key.code.startswith("Digit") and len(key.code) == 6:
        return ord(key.code[5])
    return 0


def typed_text(key: Key) -> str:
    """Return the text a key press types, "" for none."""
    if key.key == "Enter":
        return "\r"
    # One user-perceived character: an emoji of an on-screen keyboard is several code points, a key's name always has ASCII letters.
    if len(key.key) > 1 and key.key.isascii():
        return ""
    control, alt = bool(key.modifiers & CTRL), bool(key.modifiers & ALT)
    if key.modifiers & META:
        return ""
    if control and alt:
        # AltGr arrives as Control and Alt on Windows keyboards: then the character counts, unless it is a plain letter or digit.
        return "" if key.key.isascii() and key.key.isalnum() else key.key
    return "" if control or (alt and key.key.isascii() and key.key.isalnum()) else key.key


def key_event(key: Key, *, mac: bool) -> dict[str, object]:
    """Return the parameters of ``Input.dispatchKeyEvent``."""
    commands = []
    if mac:
        if key.down and key.modifiers & META and not key.modifiers & CTRL and key.key in _MAC_COMMANDS:
            commands.append(_MAC_COMMANDS[key.key])
        key = linux_key(key)
    text = typed_text(key) if key.down else ""
    # A character that took Control and Alt together is typed without them: with them, a page takes it for a shortcut.
    chosen = text != "" and key.modifiers & (CTRL | ALT) == CTRL | ALT
    modifiers = key.modifiers & ~(CTRL | ALT) if chosen else key.modifiers
    event: dict[str, object] = {
        "type": ("keyDown" if text else "rawKeyDown") if key.down else "keyUp",
        "key": key.key,
        "code": key.code,
        "windowsVirtualKeyCode": virtual_key(key),
        "modifiers": modifiers,
        "location": key.location,
        "isKeypad": key.location == 3,
        "autoRepeat": key.repeat,
    }
    if text:
        event |= {"text": text, "unmodifiedText": text}
    if commands:
        event["commands"] = commands
    return event
