"""The registry of what is live."""

from __future__ import annotations

from isolation.identity.sessions.live import LiveRegistry


def test_ending_reaches_the_right_ones_once() -> None:
    registry = LiveRegistry()
    ended: list[tuple[str, str]] = []

    def closer(name: str):  # type: ignore[no-untyped-def]
        return lambda why: ended.append((name, why))

    registry.open("s1", "a", closer("s1a"))
    registry.open("s1", "a", closer("s1a2"))
    registry.open("s1", "b", closer("s1b"))
    registry.open("s2", "a", closer("s2a"))
    finished = registry.open("s1", "a", closer("finished"))
    finished.close()
    finished.close()
    assert set(registry.pairs()) == {("s1", "a"), ("s1", "b"), ("s2", "a")}
    assert registry.count() == 4
    assert registry.end("s1", "a", "isolated") == 2
    assert sorted(ended) == [("s1a", "isolated"), ("s1a2", "isolated")]
    assert registry.end("s1", None, "session-ended") == 1
    assert registry.end("s1", None, "session-ended") == 0
    assert registry.end_app("a", "removed") == 1
    assert registry.count() == registry.count("s1") == 0
    assert registry._sessions == {}


def test_one_closer_that_fails_does_not_save_the_others() -> None:
    registry = LiveRegistry()
    ended: list[str] = []

    def broken(why: str) -> None:
        raise RuntimeError("no")

    for _ in range(3):
        registry.open("s", "a", broken)
        registry.open("s", "a", ended.append)
    assert registry.end("s", "a", "isolated") == 6
    assert ended == ["isolated"] * 3


def test_a_closer_may_close_its_own_handle() -> None:
    registry = LiveRegistry()
    handles = []
    handles.append(registry.open("s", "a", lambda why: handles[0].close()))
    assert registry.end("s", "a", "isolated") == 1
