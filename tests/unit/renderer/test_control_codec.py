from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderer.wire import control as c
from renderer.wire.control_codec import PageAddress, decode_from_node, decode_to_node, encode_control, parse_page_target
from renderer.wire.controls import Value
from renderer.wire.fields import WireError

CONTROLS: dict[str, Value] = {
    "clipboard": "to_app",
    "clipboard_types": ["text", "image"],
    "clipboard_max_kb": 256,
    "clipboard_per_minute": 30,
    "download": "allow",
    "download_max_mb": 100,
    "download_types": ["pdf", "csv"],
    "upload": "none",
    "upload_max_mb": 100,
    "upload_types": None,
    "print": False,
    "keyboard": True,
    "watermark": "alice@corp.example · 2026-11-26 09:41 UTC · 7f3a",
    "tabs": 20,
    "bandwidth_kbps": None,
}
START = c.StartLease("lease-1", c.Egress("127.0.0.1", 3128, "lease-1", "pa:ss wörd", "c3BraQ=="), CONTROLS, 100)


@pytest.mark.parametrize(
    "message",
    [
        START,
        c.EndLease("lease-1"),
        c.Mark("lease-1", "bob · 09:41 · 7f3a"),
        c.Prepare("gate.example", 3128, "c3BraQ=="),
        c.Drain(),
    ],
)
def test_to_node(message: c.ToNode) -> None:
    assert decode_to_node(encode_control(message)) == message
    with pytest.raises(WireError):
        decode_from_node(encode_control(message))


@pytest.mark.parametrize(
    "message",
    [
        *(c.LeaseReport("l", s, k) for s in c.LeaseState for k in c.LeaseCode),
        *(c.NodeStatus(1, 1, 8, "156.0", s) for s in c.NodeState),
    ],
)
def test_from_node(message: c.FromNode) -> None:
    assert decode_from_node(encode_control(message)) == message
    with pytest.raises(WireError):
        decode_to_node(encode_control(message))


@pytest.mark.parametrize(
    "change",
    [
        {"clipboard": "all"},
        {"clipboard": None},
        {"clipboard_types": None},
        {"clipboard_types": "text"},
        {"clipboard_types": ["text", "text"]},
        {"clipboard_types": ["html"]},
        {"clipboard_types": [["text"]]},
        {"clipboard_max_kb": 0},
        {"clipboard_max_kb": 4097},
        {"clipboard_max_kb": 1.5},
        {"clipboard_per_minute": True},
        {"download": "all"},
        {"download": True},
        {"download_max_mb": None},
        {"download_types": ["exe"]},
        {"upload_types": [None]},
        {"print": 1},
        {"keyboard": None},
        {"watermark": True},
        {"watermark": "x" * 201},
        {"tabs": 0},
        {"tabs": 101},
        {"bandwidth_kbps": 99},
        {"bandwidth_kbps": "fast"},
        {"domains": []},
        {"extra": True},
    ],
)
def test_unknown_controls_are_refused(change: dict[str, object]) -> None:
    document = json.loads(encode_control(START))
    document["controls"] |= change
    with pytest.raises(WireError):
        decode_to_node(json.dumps(document))


@pytest.mark.parametrize("name", CONTROLS)
def test_a_missing_control_is_refused(name: str) -> None:
    document = json.loads(encode_control(START))
    del document["controls"][name]
    with pytest.raises(WireError):
        decode_to_node(json.dumps(document))


@given(
    st.one_of(
        st.text(max_size=60),
        st.binary(max_size=60),
        st.dictionaries(st.sampled_from(["op", "lease", "state"]), st.text(max_size=5)).map(json.dumps),
    )
)
def test_only_wire_error_escapes(data: str | bytes) -> None:
    for decode in (decode_to_node, decode_from_node):
        try:
            decode(data)
        except WireError:
            continue
    with contextlib.suppress(WireError):
        parse_page_target(data if isinstance(data, str) else data.decode("latin-1"))


@pytest.mark.parametrize("origin", ["https://payroll.corp.example", "http://data.localhost:8080", "https://[::1]:8443"])
def test_page_address(origin: str) -> None:
    address = PageAddress("lease-1", origin)
    assert parse_page_target(address.target()) == address


@pytest.mark.parametrize(
    "target",
    [
        "/leases/x/page",
        "/leases/x/page?origin=",
        "/leases/x/page?origin=file%3A%2F%2F",
        "/leases/x/page?origin=https%3A%2F%2Fa.example%2Fpath",
        "/leases/../page?origin=https%3A%2F%2Fa.example",
        "/leases/x/page?origin=https%3A%2F%2Fa&origin=https%3A%2F%2Fb",
        "/leases/x/y/page?origin=https%3A%2F%2Fa",
        "//host/leases/x/page?origin=https%3A%2F%2Fa",
        "/control",
    ],
)
def test_other_page_addresses_are_refused(target: str) -> None:
    with pytest.raises(WireError):
        parse_page_target(target)
