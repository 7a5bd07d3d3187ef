"""``python -m isolation.testing.tenant``: the built-in tenant as a process of its own, on loopback."""

from __future__ import annotations

import argparse
import sys

from isolation.testing.tenant.people import CLIENT_ID, CLIENT_SECRET, TENANT_ID
from isolation.testing.tenant.server import Tenant


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal ends the process. Returns 1 when the port is taken."""
    parser = argparse.ArgumentParser(prog="python -m isolation.testing.tenant", description=__doc__)
    parser.add_argument("--port", type=int, default=8081, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--base-url", default=None, help="what clients call the tenant (default: http://HOST:PORT)")
    parser.add_argument("--client-id", default=CLIENT_ID)
    parser.add_argument("--client-secret", default=CLIENT_SECRET)
    parser.add_argument("--tenant-id", default=TENANT_ID)
    parser.add_argument(
        "--redirect-uri", action="append", default=[], help="a registered redirect URI; without any, all on loopback are"
    )
    options = parser.parse_args(arguments)
    tenant = Tenant(
        port=options.port,
        host=options.host,
        base_url=options.base_url,
        client_id=options.client_id,
        client_secret=options.client_secret,
        tenant_id=options.tenant_id,
        redirect_uris=options.redirect_uri,
    )
    try:
        tenant.run()
    except OSError as error:
        sys.stderr.write(f"cannot listen on {options.host}:{options.port}: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
