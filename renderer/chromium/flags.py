"""Every flag Chromium is started with, each with its reason.

Nothing else is passed: Playwright's own list is turned off, because a good part of it weakens a browser that a person uses (no pop-up
blocking, no IPC flooding protection, no storage partitioning, no HTTPS upgrades).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# ---------------------------------------------------------------- limits
DISK_CACHE_BYTES = 64 * 1024 * 1024  # the HTTP cache of one session, inside its private directory
JS_HEAP_MIB = 1024  # old space of one page's V8: a page that needs more is a page that attacks


@dataclass(frozen=True, slots=True)
class Flag:
    """One switch and why it is there."""

    switch: str
    reason: str


@dataclass(frozen=True, slots=True)
class Proxy:
    """The only way out."""

    host: str
    port: int
    spki: str


# Features that talk to the outside by themselves, or that a headless session has no use for.
_OFF = (
    "AutofillServerCommunication",
    "CertificateTransparencyComponentUpdater",
    "DialMediaRouteProvider",
    "GlobalMediaControls",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "Prerender2",
    "PreconnectToSearch",
    "Translate",
    "WebBluetooth",
    "WebTransport",
    "WebUSB",
)

BASE: tuple[Flag, ...] = (
    Flag("--headless", "there is no screen"),
    Flag(
        "--remote-debugging-pipe",
        "control over inherited descriptors: no port anybody else could open; closing them ends the browser",
    ),
    Flag("--no-startup-window", "pages are made by us, in a context that remembers nothing"),
    Flag("--no-first-run", "no welcome page"),
    Flag("--no-default-browser-check", "nobody to ask"),
    Flag("--disable-field-trial-config", "the same behaviour every time"),
    Flag("--disable-background-networking", "no traffic of the browser's own"),
    Flag("--disable-component-update", "no traffic of the browser's own; Chromium is updated with the image"),
    Flag("--disable-domain-reliability", "no reports to third parties"),
    Flag("--disable-breakpad", "no crash upload"),
    Flag("--disable-crash-reporter", "no crash upload"),
    Flag("--metrics-recording-only", "no metrics upload"),
    Flag("--disable-sync", "no account"),
    Flag("--disable-default-apps", "nothing preinstalled"),
    Flag("--disable-extensions", "code of nobody but the page"),
    Flag("--disable-component-extensions-with-background-pages", "code of nobody but the page"),
    Flag("--disable-dev-shm-usage", "containers give /dev/shm 64 MB, and it is shared: use the private directory"),
    Flag("--password-store=basic", "no keyring of the account that runs the node"),
    Flag("--disable-quic", "UDP does not pass the egress gateway"),
    Flag(
        "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
        "WebRTC must not send UDP past the gateway (measured: none leaves)",
    ),
    Flag("--mute-audio", "no sound device"),
    Flag("--disable-gpu", "no GPU; and its driver is not part of the attack surface"),
    Flag("--disable-3d-apis", "WebGL on software rendering is the largest code a page can reach"),
    Flag("--force-color-profile=srgb", "pixels mean the same everywhere"),
    Flag("--disable-background-timer-throttling", "every tab has a viewer of its own: none is in the background"),
    Flag("--disable-backgrounding-occluded-windows", "no window is ever seen, so each would count as covered"),
    Flag("--disable-renderer-backgrounding", "every tab has a viewer of its own: none is in the background"),
    Flag("--disable-back-forward-cache", "a page that was left stops running"),
    Flag("--disable-search-engine-choice-screen", "no browser windows of its own"),
    Flag("--disable-print-preview", "printing makes a PDF for the person, where policy lets it"),
    Flag(
        "--disable-blink-features=FileSystemAccessLocal",
        "no pickers that hand a page files of this machine; without them pages use inputs and downloads, which are controlled",
    ),
    Flag("--disable-notifications", "notifications never reach the person's device"),
    Flag("--deny-permission-prompts", "camera, location and the like: no, without asking"),
    Flag(f"--disable-features={','.join(_OFF)}", "features that call out, or reach devices"),
    Flag(
        "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",
        "headless claims to have no mouse; the person has one",
    ),
    Flag(f"--js-flags=--max-old-space-size={JS_HEAP_MIB}", "a page that fills memory ends alone"),
    Flag(f"--disk-cache-size={DISK_CACHE_BYTES}", "a page cannot fill the disk"),
)

# Never passed, whatever a future reader thinks; a test holds the list to it.
FORBIDDEN = (
    "--no-sandbox",
    "--disable-setuid-sandbox",
    "--disable-seccomp-filter-sandbox",
    "--disable-namespace-sandbox",
    "--no-zygote",
    "--single-process",
    "--disable-web-security",
    "--disable-site-isolation-trials",
    "--disable-popup-blocking",
    "--disable-ipc-flooding-protection",
    "--allow-running-insecure-content",
    "--ignore-certificate-errors",
    "--remote-debugging-port",
    "--remote-debugging-address",
    "--enable-automation",
    "--hide-scrollbars",
    "--enable-unsafe-swiftshader",
    "--allow-file-access-from-files",
)


def command_line(profile: Path, proxy: Proxy | None) -> list[str]:
    """Return the whole argument list. No scale is forced: see :mod:`renderer.chromium.screens`.

    Without a proxy (the sandbox check) every host is unreachable.
    """
    flags = [flag.switch for flag in BASE]
    flags.append(f"--user-data-dir={profile}")
    if proxy is None:
        # No way out at all: what has no gateway has no network.
        return [*flags, "--host-resolver-rules=MAP * ~NOTFOUND"]
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    flags += [
        f"--proxy-server=http://{host}:{proxy.port}",
        # Chromium by itself sends loopback names past a proxy; this entry takes that back, so that the page cannot reach this machine.
        "--proxy-bypass-list=<-loopback>",
    ]
    if proxy.spki:
        flags.append(f"--ignore-certificate-errors-spki-list={proxy.spki}")
    return flags
