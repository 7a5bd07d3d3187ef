"""Resolves public names itself, judges every address, and connects to exactly an address that it judged (no rebinding)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

from isolation.clock import Clock
from isolation.egress.address import Address, EgressRefusedError, Name, Network, Reason, classify

# limits
LOOKUP_SECONDS = 5.0
"""glibc's resolver waits 5 s for its first server; who has not answered then makes the page wait for nothing."""
LOOKUP_THREADS = 8
"""Lookups at a time. Threads of our own: a slow resolver must not use up the ones that the store works in."""
MAX_WAITING_LOOKUPS = 256
"""Lookups waiting for a thread before further ones are refused."""
CACHE_SECONDS = 30.0
"""How long an answer is used again; getaddrinfo does not tell the TTL. Judged addresses only, so age cannot loosen anything."""
FAILURE_SECONDS = 3.0
CACHE_ENTRIES = 1_024
MAX_ADDRESSES = 16
"""Addresses of one name that are looked at. A name with more is refused whole: the rest could not be judged."""
CONNECT_SECONDS = 5.0
"""Per address: three SYN attempts of Linux (0, 1, 3 s)."""
CONNECT_ATTEMPTS = 3

Lookup = Callable[[str], Awaitable[Sequence[str]]]
Dial = Callable[[Address, int], Awaitable[socket.socket]]


def system_addresses(name: str) -> list[str]:
    """Return the addresses of a name by the machine's resolver. Blocks; raises :class:`OSError`.

    The final dot keeps search domains and the hosts file out: ``wiki.example`` must not become ``wiki.example.corp.internal``.
    """
    found = socket.getaddrinfo(name + ".", None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class SystemLookup:
    """The machine's resolver (or another blocking one), in bounded threads."""

    def __init__(self, addresses: Callable[[str], Sequence[str]] = system_addresses, *, seconds: float = LOOKUP_SECONDS) -> None:
        self._addresses = addresses
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="egress-lookup")
        self._places = threading.BoundedSemaphore(MAX_WAITING_LOOKUPS)

    async def __call__(self, name: str) -> Sequence[str]:
        """Return the addresses of ``name`` as text. Raises :class:`OSError`, or :class:`TimeoutError` when it takes too long."""
        if not self._places.acquire(blocking=False):
            raise OSError("too many lookups at a time")
        future = self._threads.submit(self._addresses, name)
        future.add_done_callback(lambda _: self._places.release())  # runs in the thread, also when nobody waits any more
        return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)

    def close(self) -> None:
        """Let go of the threads; lookups that hang end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Resolver:
    """Turns an examined host into judged addresses.

    ``refused``: networks of the configuration that count as private although they are public (an organisation's own ranges).
    """

    def __init__(self, clock: Clock, lookup: Lookup, *, refused: Iterable[Network] = ()) -> None:
        self._clock = clock
        self._lookup = lookup
        self._refused = tuple(refused)
        self._cache: OrderedDict[str, tuple[float, tuple[Address, ...] | Reason]] = OrderedDict()
        self._running: dict[str, asyncio.Task[tuple[Address, ...] | Reason]] = {}

    async def resolve(self, host: Address | Name) -> tuple[Address, ...]:
        """Return addresses that were all judged public. Raises :class:`EgressRefusedError`: one bad address refuses the name."""
        if not isinstance(host, Name):
            self._judge(host)
            return (host,)
        kept = self._cache.get(host.text)
        if kept is None or kept[0] <= self._clock.monotonic():
            running = self._running.get(host.text)
            if running is None:
                running = asyncio.get_running_loop().create_task(self._look_up(host.text))
                self._running[host.text] = running
                running.add_done_callback(lambda _: self._running.pop(host.text, None))
            answer = await asyncio.shield(running)  # one page that goes away does not end the lookup for the others
        else:
            answer = kept[1]
        if isinstance(answer, Reason):
            raise EgressRefusedError(answer)
        return answer

    async def _look_up(self, name: str) -> tuple[Address, ...] | Reason:
        answer: tuple[Address, ...] | Reason
        try:
            answer = self._judged(await self._lookup(name))
        except EgressRefusedError as refused:
            answer = refused.reason
        except (OSError, TimeoutError, UnicodeError):
            answer = Reason.UNRESOLVED
        life = CACHE_SECONDS if isinstance(answer, tuple) else FAILURE_SECONDS
        self._cache[name] = (self._clock.monotonic() + life, answer)
        self._cache.move_to_end(name)
        while len(self._cache) > CACHE_ENTRIES:
            self._cache.popitem(last=False)
        return answer

    def _judged(self, found: Sequence[str]) -> tuple[Address, ...]:
        if not 0 < len(found) <= MAX_ADDRESSES:
            raise EgressRefusedError(Reason.UNRESOLVED)
        try:
            addresses = tuple(ip_address(text) for text in found)
        except ValueError as error:
            raise EgressRefusedError(Reason.MALFORMED) from error
        for address in addresses:
            self._judge(address)
        return addresses

    def _judge(self, address: Address) -> None:
        reason = classify(address)
        if reason is None and any(address in network for network in self._refused):
            reason = Reason.PRIVATE
        if reason is None and is_own(address):
            reason = Reason.OWN_ADDRESS
        if reason is not None:
            raise EgressRefusedError(reason)


def is_own(address: Address) -> bool:
    """Tell whether ``address`` belongs to this machine (a public address of its own would lead back to the router's listeners).

    Sends nothing: for a local destination the kernel chooses that very address as the source.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return bool(ip_address(probe.getsockname()[0]) == address)
    except OSError:
        return False  # no route to it: the connection will fail by itself


async def dial(address: Address, port: int) -> socket.socket:
    """Connect to a judged address. Raises :class:`OSError` or :class:`TimeoutError` (after ``CONNECT_SECONDS``)."""
    connection = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(CONNECT_SECONDS):
            await asyncio.get_running_loop().sock_connect(connection, (str(address), port))
    except BaseException:
        connection.close()
        raise
    return connection


async def connect(addresses: Sequence[Address], port: int, dialer: Dial) -> tuple[socket.socket, Address]:
    """Connect to the first of the judged addresses that answers. Raises :class:`EgressRefusedError` (unreachable)."""
    for address in addresses[:CONNECT_ATTEMPTS]:
        with contextlib.suppress(OSError, TimeoutError):
            return await dialer(address, port), address
    raise EgressRefusedError(Reason.UNREACHABLE)
