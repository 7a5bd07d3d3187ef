"""Frame boundaries: they decide whether a close frame may be put into a stream."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from isolation.proxy.websocket import FrameCounter, accept_key, close_frame

frames = st.builds(
    lambda size, mask, opcode: Frame(opcode, b"\x88" * size).serialize(mask=mask),
    st.sampled_from([0, 1, 125, 126, 127, 200, 65_535, 65_536, 70_000]),
    st.booleans(),
    st.sampled_from([Opcode.TEXT, Opcode.BINARY]),
)


@given(st.lists(frames, min_size=1, max_size=4), st.lists(st.integers(0, 80_000), max_size=12))
def test_boundaries_are_found_whatever_the_pieces(whole: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(whole)
    ends = {0}
    for frame in whole:
        ends.add(max(ends) + len(frame))
    counter = FrameCounter()
    position = 0
    for cut in [*sorted({cut for cut in cuts if cut < len(stream)}), len(stream)]:
        counter.feed(stream[position:cut])
        position = cut
        assert counter.at_boundary == (cut in ends)


@given(st.binary(max_size=400))
def test_any_bytes_are_survived(data: bytes) -> None:
    whole, single = FrameCounter(), FrameCounter()
    whole.feed(data)
    for index in range(len(data)):
        single.feed(data[index : index + 1])
    assert whole.at_boundary == single.at_boundary


@given(st.text(max_size=300))
def test_close_frames_are_control_frames(reason: str) -> None:
    frame = close_frame(1008, reason)
    counter = FrameCounter()
    counter.feed(frame)
    assert counter.at_boundary
    assert frame[0] == 0x88
    assert frame[1] <= 125


def test_the_accept_key_of_the_rfc() -> None:
    assert accept_key(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
