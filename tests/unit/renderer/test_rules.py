"""Small pure things: what is legal when on a stream, addresses, hostile values, flags, which Chromium."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderer.chromium.find import NoChromiumError, find_chromium
from renderer.chromium.flags import BASE, FORBIDDEN, Proxy, command_line
from renderer.chromium.sandbox import unsandboxed
from renderer.location import may_show, split_address
from renderer.observe import small_icon
from renderer.wire import messages as m
from renderer.wire.codec import encode
from renderer.wire.fields import WireError
from renderer.wire.session import Phase, StreamRules
from renderer.world import clean, whole

HELLO = m.Hello(1, "", "/", 100, 100, 100, False, False)
READY = m.Ready("p", 100, 100, 100, False)


def frame(seq: int, *, complete: bool = False) -> m.Frame:
    return m.Frame(seq, 10, 10, complete, (), ())


# ---------------------------------------------------------------- streams


def test_a_stream() -> None:
    rules = StreamRules()
    rules.to_renderer(HELLO)
    rules.from_renderer(READY)
    rules.from_renderer(frame(1, complete=True))
    rules.from_renderer(frame(2))
    assert rules.unacked == 2
    rules.to_renderer(m.Ack(2))
    assert rules.unacked == 0
    rules.from_renderer(m.Closed(m.CloseCode.PAGE_CLOSED))
    assert rules.phase is Phase.CLOSED


@pytest.mark.parametrize(
    "before",
    [[m.Ack(1)], [m.Stop()], [HELLO, HELLO], [HELLO, m.Ack(1)]],
)
def test_a_viewer_out_of_turn(before: list[m.ToRenderer]) -> None:
    rules = StreamRules()
    for message in before[:-1]:
        rules.to_renderer(message)
    with pytest.raises(WireError):
        rules.to_renderer(before[-1])


@pytest.mark.parametrize(
    "messages",
    [
        [m.Title("x")],
        [READY, READY],
        [READY, frame(1)],
        [READY, frame(1, complete=True), frame(3)],
        [READY, frame(1, complete=True), frame(1)],
        [m.Closed(m.CloseCode.REFUSED), m.Title("x")],
        [frame(1, complete=True)],
    ],
)
def test_a_renderer_out_of_turn(messages: list[m.FromRenderer]) -> None:
    rules = StreamRules()
    rules.to_renderer(HELLO)
    for message in messages[:-1]:
        rules.from_renderer(message)
    with pytest.raises(WireError):
        rules.from_renderer(messages[-1])


def test_acknowledgements_only_rise_and_never_run_ahead() -> None:
    rules = StreamRules()
    rules.to_renderer(HELLO)
    rules.from_renderer(READY)
    for seq in (1, 2, 3):
        rules.from_renderer(frame(seq, complete=seq == 1))
    rules.to_renderer(m.Ack(2))
    for seq in (2, 1, 4):
        with pytest.raises(WireError):
            rules.to_renderer(m.Ack(seq))


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://app.example/run?month=5#x", ("https://app.example", "/run?month=5#x")),
        ("http://app.localhost:8080/", ("http://app.localhost:8080", "/")),
        ("https://user:pw@app.example/x", ("https://app.example", "/x")),
        ("https://app.example", ("https://app.example", "/")),
        ("https://app.example?x", ("https://app.example", "/?x")),
        ("https://[::1]:8443/x", ("https://[::1]:8443", "/x")),
        ("https://app.example/" + "x" * 40_000 + "?secret", ("https://app.example", "/" + "x" * 32_767)),
        ("about:blank", ("", "")),
        ("blob:https://app.example/1-2", ("", "")),
        ("file:///etc/passwd", ("", "")),
        ("chrome-error://chromewebdata/", ("", "")),
        ("https://app.example/\n", ("", "")),
        ("https://ex ample/", ("", "")),
        ("https://täst.example/", ("", "")),
        ("javascript:alert(1)//https://a.example/", ("", "")),
    ],
)
def test_split_address(url: str, expected: tuple[str, str]) -> None:
    assert split_address(url) == expected


@given(
    st.one_of(
        st.text(max_size=60), st.text(max_size=60).map("https://a.example".__add__), st.text(max_size=40).map("http://".__add__)
    )
)
def test_any_address_fits_the_contract(url: str) -> None:
    origin, path = split_address(url)
    encode(m.Location(origin, path, 0, 1, False))


@pytest.mark.parametrize(
    "url", ["https://a/", "http://a/", "about:blank", "blob:https://a/1", "blob:null/1", "chrome-error://chromewebdata/", ""]
)
def test_may_show(url: str) -> None:
    assert may_show(url)


@pytest.mark.parametrize(
    "url",
    [
        "file:///x",
        "FILE:///x",
        "chrome://version",
        "devtools://x",
        "view-source:https://a/",
        "data:text/html,x",
        "chrome-extension://x",
        "blob:file:///x",
        "ftp://x",
        "javascript:1",
        "about:version",
        "filesystem:https://a/x",
    ],
)
def test_may_not_show(url: str) -> None:
    assert not may_show(url)


# ---------------------------------------------------------------- hostile values


@given(st.one_of(st.text(), st.none(), st.integers(), st.lists(st.text()), st.just("\ud800x" * 99)), st.integers(0, 50))
def test_clean(value: object, most: int) -> None:
    assert len(clean(value, most).encode()) <= most


def test_clean_cuts_between_characters() -> None:
    assert clean("aé", 2) == "a"
    assert clean("x" * 9, 3) == "xxx"


@given(st.one_of(st.floats(), st.integers(), st.text(), st.booleans(), st.none()))
def test_whole(value: object) -> None:
    assert -5 <= whole(value, -5, 9) <= 9


@given(
    st.one_of(st.none(), st.text(max_size=30), st.binary(max_size=60).map(lambda b: __import__("base64").b64encode(b).decode()))
)
def test_hostile_icons_are_no_icons(drawn: object) -> None:
    assert small_icon(drawn) == ""


# ---------------------------------------------------------------- Chromium


def test_no_flag_weakens_the_browser() -> None:
    flags = command_line(Path("/p"), Proxy("127.0.0.1", 3128, "c3BraQ=="))
    for flag in flags:
        assert flag.split("=")[0] not in FORBIDDEN
    assert "--proxy-bypass-list=<-loopback>" in flags
    assert "--proxy-server=http://127.0.0.1:3128" in flags
    assert "--remote-debugging-pipe" in flags
    assert all(flag.reason for flag in BASE)
    assert len({flag.switch.split("=")[0] for flag in BASE}) == len(BASE)  # a second one would silently replace the first


def test_without_a_gateway_there_is_no_network() -> None:
    flags = command_line(Path("/p"), None)
    assert "--host-resolver-rules=MAP * ~NOTFOUND" in flags
    assert not [flag for flag in flags if flag.startswith("--proxy-server")]


def test_ipv6_gateways() -> None:
    flags = command_line(Path("/p"), Proxy("::1", 1, ""))
    assert "--proxy-server=http://[::1]:1" in flags
    assert not [flag for flag in flags if "scale-factor" in flag]  # it would turn screens of other scales off
    assert not [flag for flag in flags if "spki" in flag]


def test_find_chromium(tmp_path: Path) -> None:
    named = tmp_path / "mine"
    with pytest.raises(NoChromiumError, match="mine"):
        find_chromium({"ISOLATION_CHROMIUM": str(named)})
    with pytest.raises(NoChromiumError):
        find_chromium({"ISOLATION_CHROMIUM": "relative"})
    named.write_text("")
    named.chmod(0o755)
    assert find_chromium({"ISOLATION_CHROMIUM": str(named)}) == named
    newest = tmp_path / "chromium_headless_shell-1200" / "chrome-linux" / "headless_shell"
    for revision in ("999", "1200", "1100"):
        shell = tmp_path / f"chromium_headless_shell-{revision}" / "chrome-linux" / "headless_shell"
        shell.parent.mkdir(parents=True)
        shell.write_text("")
        shell.chmod(0o755)
    assert find_chromium({"PLAYWRIGHT_BROWSERS_PATH": str(tmp_path)}) == newest


def fake_proc(root: Path, pid: str, status: str, namespace: str) -> None:
    (root / pid / "ns").mkdir(parents=True)
    (root / pid / "status").write_text(status)
    for name in ("user", "pid", "net"):
        os.symlink(f"{name}:[{namespace}]", root / pid / "ns" / name)


GOOD = "Name:\tx\nUid:\t5\t5\t5\t5\nNoNewPrivs:\t1\nSeccomp:\t2\n"


@pytest.mark.parametrize(
    ("status", "namespace", "missing"),
    [
        (GOOD, "7", ""),
        (GOOD.replace("Seccomp:\t2", "Seccomp:\t0"), "7", "seccomp"),
        (GOOD.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0"), "7", "privileges"),
        (GOOD.replace("5\t5\t5\t5", "0\t0\t0\t0"), "7", "root"),
        (GOOD, "1", "shares the user, pid, net namespace"),
        ("", "7", "seccomp"),
    ],
)
def test_the_sandbox_is_read_from_proc(tmp_path: Path, status: str, namespace: str, missing: str) -> None:
    fake_proc(tmp_path, "self", GOOD, "1")
    fake_proc(tmp_path, "42", status, namespace)
    found = unsandboxed(42, tmp_path)
    assert (missing in found) if missing else found == ""
    assert "inspected" in unsandboxed(43, tmp_path)
