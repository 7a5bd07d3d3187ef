"""``isolation serve`` over the demo's apps and tenant, with every byte on both sides of the router written down, and an app of the tests'."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from tests.support.demo.pages_app import PagesApp
from tests.support.demo.recorder import Background, Recorder
from tests.support.demo.running import Demo, Running, state_directory
from tests.support.ports import free_ports


@dataclass(frozen=True)
class Deployment:
    """``front``: between people and the router. ``data``, ``lab``, ``tools``: between the router and the apps."""

    product: Running
    front: Recorder
    data: Recorder
    lab: Recorder
    tools: Recorder
    pages: PagesApp

    def origin(self, app: str) -> str:
        """Return what stands in people's address bars: ``origin("data")``."""
        return f"http://{app}.localhost:{self.front.port}"

    def forget(self) -> None:
        """Begin the records anew."""
        for recorder in (self.front, self.data, self.lab, self.tools):
            recorder.forget()


@contextlib.contextmanager
def running_deployment(demo: Demo) -> Iterator[Deployment]:
    """Run it. The tenant and the apps are the demo's."""
    with Background() as background, PagesApp() as pages, contextlib.ExitStack() as stack:
        listen = free_ports(2)[0]

        def recorder(target: int) -> Recorder:
            made = Recorder(background, target)
            stack.callback(made.close)
            return made

        front, data = recorder(listen), recorder(demo.port + 2)
        lab, tools = recorder(demo.port + 3), recorder(pages.port)
        home = state_directory()
        config = home / "isolation.yaml"
        raw = yaml.safe_load(demo.product.config.read_text())
        raw |= {
            "listen": f"127.0.0.1:{listen}",
            "public_port": front.port,
            "operations_listen": f"127.0.0.1:{listen + 1}",
            "state_dir": str(home),
        }
        apps = raw["apps"]
        apps[0]["upstream"] = f"http://127.0.0.1:{data.port}"
        apps[1]["upstream"] = f"http://127.0.0.1:{lab.port}"
        apps.append(
            {
                "name": "Tools",
                "domain": "tools.localhost",
                "upstream": f"http://127.0.0.1:{tools.port}",
                "policies": apps[0]["policies"],
            }
        )
        config.write_text(yaml.safe_dump(raw), encoding="utf-8")
        product = Running(home, ["--config", str(config), "serve"], config=config, operations=listen + 1)
        stack.callback(product.stop)
        product.start()
        yield Deployment(product, front, data, lab, tools, pages)
