"""A renderer node with an eye: the real one, and beside it a socket at which the test asks for Chromium's own picture of a page.

``python -m tests.browser.fidelity.node`` takes the arguments of ``python -m renderer``. The socket is ``eye`` in the runtime directory. A request
is one line of JSON, ``{"do": …, "page": …}``; so is the answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any
from weakref import WeakKeyDictionary

import renderer.__main__
import renderer.node
import renderer.privileges
from renderer.chromium.launch import Chromium
from renderer.page import Tab

MODULE = "tests.browser.fidelity.node"
MAX_LINE = 1 << 20

# What a page still has before it, as far as it can be known without making it draw: a page's own script says ``busy`` while it moves things.
# "" when there is nothing left, "caret" when all that is left is a caret that blinks.
PENDING = """(() => {
  const look = (view) => {
    const root = view.document;
    if (root.readyState !== 'complete') return 'loading';
    if (view.busy) return 'busy';
    if (root.getAnimations({ subtree: true }).some((one) => one.playState === 'running')) return 'animation';
    if ([...root.images].some((image) => !image.complete)) return 'image';
    for (const frame of root.querySelectorAll('iframe')) {
      if (!frame.contentDocument) continue;
      const said = look(frame.contentWindow);
      if (said) return said;
    }
    const active = root.activeElement;
    const inner = active?.shadowRoot?.activeElement ?? active;
    const writes = inner && (inner.isContentEditable || /^(INPUT|TEXTAREA)$/.test(inner.tagName));
    return writes && getComputedStyle(inner).caretAnimation !== 'manual' ? 'caret' : '';
  };
  return look(window);
})()"""


class Eye:
    """Looks at the pages of one node through CDP sessions of its own."""

    def __init__(self, node: renderer.node.Node) -> None:
        self._node = node
        self._sessions: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def _tab(self, name: str) -> Tab:
        for lease in self._node._leases.values():
            if name in lease.tabs:
                return lease.tabs[name]
        raise LookupError(f"no page {name}")

    async def _cdp(self, tab: Tab) -> Any:
        session = self._sessions.get(tab.page)
        if session is None:
            session = self._sessions[tab.page] = await tab.page.context.new_cdp_session(tab.page)
        return session

    async def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        tab = self._tab(asked["page"])
        match asked["do"]:
            case "picture":
                cdp = await self._cdp(tab)
                return {"png": (await cdp.send("Page.captureScreenshot", {"format": "png", "optimizeForSpeed": True}))["data"]}
            case "pending":
                if tab.pump is None or not tab.pump.idle:
                    return {"pending": "a picture"}
                cdp = await self._cdp(tab)
                said = await cdp.send("Runtime.evaluate", {"expression": PENDING, "returnByValue": True})
                return {"pending": str(said["result"].get("value", "loading"))}
            case "where":
                cdp = await self._cdp(tab)
                said = await cdp.send("Runtime.evaluate", {"expression": "location.href", "returnByValue": True})
                return {"url": str(said["result"]["value"])}
            case "close":
                await tab.close()
                return {}
            case other:
                raise ValueError(other)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for line in reader:
                try:
                    async with asyncio.timeout(20):
                        said = await self.answer(json.loads(line))
                except Exception as problem:  # noqa: BLE001 - the test reads it
                    said = {"problem": f"{type(problem).__name__}: {problem}"}
                writer.write(json.dumps(said).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


class SeenNode(renderer.node.Node):
    """The real node. Its eye opens when it starts."""

    def start(self, first: Chromium) -> None:
        super().start(first)
        eye = Eye(self)
        path = str(self._engine.runtime_dir / "eye")
        self._eye = asyncio.ensure_future(asyncio.start_unix_server(eye.serve, path, limit=MAX_LINE))


def main() -> int:
    renderer.node.Node = SeenNode  # type: ignore[misc]
    execve = os.execve

    def again(path: str, command: list[str], environment: dict[str, str]) -> None:
        """Started as root, the node begins anew as somebody else: so does the eye."""
        execve(path, [MODULE if word == "renderer" else word for word in command], environment)

    os.execve = again  # type: ignore[assignment]
    return renderer.__main__.main()


if __name__ == "__main__":
    sys.exit(main())
