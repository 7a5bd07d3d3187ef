"""A renderer node whose pages do not answer at first: ``python -m tests.support.clumsy_node`` takes the arguments of ``python -m renderer``."""

from __future__ import annotations

import os
import sys

from playwright.async_api import Error

import renderer.__main__
import renderer.lease
from renderer.cdp import Cdp

MODULE = "tests.support.clumsy_node"


class ClumsyLease(renderer.lease.Lease):
    """The real one; the session with its first page is refused."""

    _refused = False

    async def session(self, target: str) -> Cdp:
        if not self._refused:
            self._refused = True
            raise Error("Protocol error (Target.attachToTarget): No target with given id found")
        return await super().session(target)


def main() -> int:
    import renderer.node

    renderer.node.Lease = ClumsyLease  # type: ignore[attr-defined]
    execve = os.execve

    def again(path: str, command: list[str], environment: dict[str, str]) -> None:
        """Started as root, the node begins anew as somebody else, clumsy still."""
        execve(path, [MODULE if word == "renderer" else word for word in command], environment)

    os.execve = again  # type: ignore[assignment]
    return renderer.__main__.main()


if __name__ == "__main__":
    sys.exit(main())
