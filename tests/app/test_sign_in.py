"""Signing in, handing over and signing out, end to end: own pages on ASGI, a real SQLite store, the built-in tenant over real HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from isolation.audit.events import AuditEvent, Kind
from isolation.clock import SystemClock
from isolation.errors import StoreError
from isolation.identity.oidc.client import EntraClient
from isolation.identity.oidc.flow import Cloud, EntraProvider
from isolation.policy.facts import Context, Facts, Known, Person, RiskLevel, UserType
from isolation.policy.grammar import parse_policy
from isolation.policy.model import PolicySet
from isolation.routing.model import App, Upstream
from isolation.store.database import Store
from isolation.store.handoffs import FlowRepository, HandoffRepository
from isolation.store.people import PeopleRepository
from isolation.store.sessions import SessionRepository
from isolation.testing.tenant.server import Tenant
from isolation.tokens import Purpose, Tokens
from isolation.web.cookies import Cookies
from isolation.web.endpoints.hand_off import HandOff
from isolation.web.endpoints.kit import Kit, Site
from isolation.web.endpoints.own import OwnPages, build
from isolation.web.endpoints.portal import Portal
from isolation.web.navigation import wants_navigation
from isolation.web.pages import PageRenderer

AUTH, DATA, LAB = "http://auth.localhost:8080", "http://data.localhost:8080", "http://lab.localhost:8080"
BROWSER = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "accept": "text/html"}
ALICE, BOB = "alice@contoso.example", "bob@contoso.example"


def policies(*raw: dict[str, Any]) -> PolicySet:
    parsed = [parse_policy(item)[0] for item in raw]
    return PolicySet(tuple(policy for policy in parsed if policy is not None))


STAFF = {"name": "Staff", "decision": "allow", "include": [{"email_domain": {"domain": "contoso.example"}}]}
NOBODY = {"name": "Nobody", "decision": "allow", "include": [{"email": {"email": "nobody@contoso.example"}}]}


def app(name: str, domain: str, policy: dict[str, Any] = STAFF) -> App:
    return App(name, domain, Upstream("127.0.0.1", 9), policies(policy), audience=name.encode().hex().ljust(64, "0"))


@dataclass
class Log:
    events: list[AuditEvent] = field(default_factory=list)
    broken: bool = False

    async def record(self, event: AuditEvent) -> str:
        if self.broken:
            raise StoreError("disk full")
        self.events.append(event)
        return event.ref

    def kinds(self) -> list[Kind]:
        return [event.kind for event in self.events]


@dataclass
class World:
    kit: Kit
    own: OwnPages
    hand_off: HandOff
    store: Store
    sessions: SessionRepository
    log: Log
    tenant: Tenant
    client: EntraClient
    synced: list[str]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Stand in for the gate: own pages, and an app that greets whoever has a session."""
        request = Request(scope, receive)
        host, path = scope["server"][0], scope["path"]
        response = await self.own.handle(request, host, path)
        if response is None and host != self.kit.site.auth_host and not path.startswith("/.isolation/"):
            raw = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
            session = await self.kit.session(request, host)
            if session is not None:
                response = PlainTextResponse(f"{session.person_key} at {host} {raw.decode()}")
            elif wants_navigation(request.headers.raw):
                response = self.hand_off.start(request.headers.raw, host, raw, method=request.method)
            else:
                response = self.hand_off.unauthorized(request.headers.raw, host)
        await (response or PlainTextResponse("nothing", 404))(scope, receive, send)

    def browser(self, **headers: str) -> httpx.AsyncClient:
        router = httpx.ASGITransport(self)
        mounts = {f"http://{host}.localhost:8080": router for host in ("auth", "data", "lab")}
        return httpx.AsyncClient(
            mounts=mounts, headers=BROWSER | headers, follow_redirects=True, trust_env=False, timeout=20, max_redirects=12
        )

    async def sign_in(self, browser: httpx.AsyncClient, url: str, person: str = ALICE) -> httpx.Response:
        page = await browser.get(url)
        assert urlsplit(str(page.url)).port == self.tenant.port, page.text
        return await choose(browser, page, person)


async def choose(browser: httpx.AsyncClient, page: httpx.Response, person: str) -> httpx.Response:
    """Press the button with a person's name on the tenant's sign-in page."""
    number = re.search(r'name="page" value="([^"]+)"', page.text)
    action = re.search(r'action="([^"]+)"', page.text)
    assert number is not None
    assert action is not None
    return await browser.post(action.group(1), data={"page": number.group(1), "person": person})


@pytest.fixture
def tenant() -> Iterator[Tenant]:
    with Tenant() as tenant:
        yield tenant


@pytest_asyncio.fixture
async def world(tenant: Tenant, tmp_path: Path) -> AsyncIterator[World]:
    clock = SystemClock()
    store = Store.open(f"sqlite:///{tmp_path}/isolation.db", clock=clock)
    provider = EntraProvider(
        "Entra", tenant.client_id, tenant.client_secret, tenant.tenant_id, Cloud(tenant.base_url, tenant.base_url)
    )
    client = EntraClient(provider, clock)
    apps = [app("Payroll", "data.localhost"), app("Notebooks", "lab.localhost", NOBODY)]
    tokens, log, synced = Tokens(["k" * 32]), Log(), list[str]()
    people = PeopleRepository(store)

    async def sync_wanted(key: str) -> None:
        synced.append(key)

    kit = Kit(
        site=Site("http", "auth.localhost", ":8080"),
        tokens=tokens,
        cookies=Cookies(tokens, clock, secure=False),
        clock=clock,
        pages=PageRenderer(),
        providers={"Entra": client},
        sessions=SessionRepository(store),
        hand_offs=HandoffRepository(store),
        flows=FlowRepository(store),
        people=people,
        audit=log,
        app_for=lambda host: next((one for one in apps if one.domain == host), None),
        client_ip=lambda _: "127.0.0.1",
        sync_wanted=sync_wanted,
        session_seconds=3600.0,
        idle_seconds=600.0,
    )

    async def facts_for(_: Request, session: Any) -> Facts:
        record = await people.get(session.person_key)
        assert record is not None
        now = clock.now()
        person = Person(
            record.key,
            record.email,
            record.name,
            "Entra",
            now,
            Known(UserType.MEMBER, now),
            Known(frozenset(), now),
            Known(RiskLevel.NONE, now),
        )
        return Facts(Context(now, ip_address("127.0.0.1")), person)

    own = build(kit, Portal(kit, lambda: apps, facts_for))
    yield World(kit, own, HandOff(kit), store, SessionRepository(store), log, tenant, client, synced)
    await client.aclose()
    store.close()


async def test_a_deep_link_survives_signing_in(world: World) -> None:
    async with world.browser() as browser:
        page = await world.sign_in(browser, f"{DATA}/run?month=5&sql=select%0A1")
        assert page.text == f"{world.tenant.person_key(ALICE)} at data.localhost /run?month=5&sql=select%0A1"
        assert not [history for history in page.history if history.status_code not in {302, 303}]
        # The next app needs no provider: the auth host hands the session over.
        seen = len(world.tenant.seen)
        assert (await browser.get(f"{LAB}/tree")).text.endswith("at lab.localhost /tree")
        assert len(world.tenant.seen) == seen
    assert world.log.kinds() == [Kind.SIGN_IN, Kind.SESSION_STARTED]
    assert world.synced == [world.tenant.person_key(ALICE)]


async def test_every_host_has_a_cookie_of_its_own(world: World) -> None:
    async with world.browser() as browser:
        await world.sign_in(browser, f"{DATA}/")
        await browser.get(f"{LAB}/")
        values = {cookie.domain: cookie.value for cookie in browser.cookies.jar if cookie.name == "isolation"}
        assert len(set(values.values())) == 3
        for foreign in (values["auth.localhost"], values["lab.localhost"]):
            async with world.browser(cookie=f"isolation={foreign}") as thief:
                assert str((await thief.get(f"{DATA}/")).url).startswith(world.tenant.base_url)
        set_cookie = [
            value
            for response in (await browser.get(f"{AUTH}/.isolation/sign-in?switch=1")).history
            for value in response.headers.get_list("set-cookie")
        ]
        assert all("Domain" not in value for value in set_cookie)


async def test_signing_in_again_makes_a_new_session_and_ends_the_old_one(world: World) -> None:
    async with world.browser() as browser:
        await world.sign_in(browser, f"{DATA}/")
        old = {cookie.domain: cookie.value for cookie in browser.cookies.jar if cookie.name == "isolation"}
        page = await world.sign_in(browser, f"{DATA}/.isolation/sign-in?switch=1&target=/mine", BOB)
        assert page.text == f"{world.tenant.person_key(BOB)} at data.localhost /mine"
        new = {cookie.domain: cookie.value for cookie in browser.cookies.jar if cookie.name == "isolation"}
    assert not set(old.values()) & set(new.values())
    async with world.browser(cookie=f"isolation={old['data.localhost']}") as thief:
        assert (await thief.get(f"{DATA}/", headers={"sec-fetch-mode": "cors"})).status_code == 401
    assert Kind.SESSION_ENDED in world.log.kinds()


async def test_a_session_id_planted_before_signing_in_opens_nothing_afterwards(world: World) -> None:
    planted = world.kit.tokens.sign(Purpose.SESSION, "p" * 43, audience="auth.localhost:8080")
    async with world.browser() as browser:
        browser.cookies.set("isolation", planted, domain="auth.localhost")
        await world.sign_in(browser, f"{AUTH}/")
    assert await world.sessions.get("p" * 43) is None


async def test_thirty_tabs_at_once_each_reach_their_own_page(world: World) -> None:
    async with world.browser() as browser:
        tabs = await asyncio.gather(*(browser.get(f"{DATA}/tab/{number}") for number in range(30)))

        async def finish(number: int) -> str:
            page = tabs[number]
            if urlsplit(str(page.url)).port == world.tenant.port:
                page = await choose(browser, page, ALICE)
            for _ in range(6):  # what a browser does with a meta refresh
                refresh = re.search(r'http-equiv="refresh" content="\d+; url=([^"]+)"', page.text)
                if refresh is None:
                    break
                page = await browser.get(str(page.url.join(refresh.group(1).replace("&amp;", "&"))))
                if 'name="page"' in page.text:
                    page = await choose(browser, page, ALICE)
            return page.text

        texts = [await finish(number) for number in range(30)]
        flows = [cookie for cookie in browser.cookies.jar if cookie.name == "isolation-flow"]
    assert [text.rpartition(" ")[2] for text in texts] == [f"/tab/{number}" for number in range(30)]
    assert len(flows) == 2
    # One session for all of them: a tab that finishes later does not end what an earlier one has begun.
    assert world.log.kinds().count(Kind.SESSION_STARTED) == 1
    assert Kind.SESSION_ENDED not in world.log.kinds()


async def test_a_background_request_is_told_where_to_sign_in(world: World) -> None:
    async with world.browser() as browser:
        answer = await browser.get(
            f"{DATA}/api", headers={"sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "referer": f"{DATA}/page?x=1"}
        )
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        page = await world.sign_in(browser, answer.json()["login"])
        assert page.text.endswith("/page?x=1")
    assert not answer.history


async def callback_url(world: World, browser: httpx.AsyncClient, url: str = f"{DATA}/x") -> str:
    """Sign in up to the point where the tenant sends the browser back; return that address without going there."""
    page = await browser.get(url)
    browser.follow_redirects = False
    answer = await choose(browser, page, ALICE)
    return answer.headers["location"]


def redeemed(world: World) -> bool:
    return any(seen.path.endswith("/token") for seen in world.tenant.seen)


async def test_somebody_elses_callback_is_refused_and_its_code_is_not_redeemed(world: World) -> None:
    async with world.browser() as attacker, world.browser() as victim:
        url = await callback_url(world, attacker)
        answer = await victim.get(url)
        assert answer.status_code == 403
        assert "refresh" not in answer.text
        assert not any(cookie.name == "isolation" for cookie in victim.cookies.jar)
        assert not redeemed(world)
        # It is used up: the attacker cannot finish it either.
        assert (await attacker.get(url)).status_code == 403
        assert not redeemed(world)


async def test_a_browser_of_ours_with_another_binding_begins_again_as_itself(world: World) -> None:
    async with world.browser() as attacker, world.browser() as victim:
        url = await callback_url(world, attacker)
        await victim.get(f"{AUTH}/.isolation/sign-in")
        answer = await victim.get(url)
        assert answer.status_code == 403
        assert 'http-equiv="refresh" content="0; url=/.isolation/sign-in?to=' in answer.text
        assert not redeemed(world)


@pytest.mark.parametrize(
    "change",
    [
        lambda url: re.sub(r"state=[^&]+", "", url),
        lambda url: re.sub(r"state=[^&]+", "state=", url),
        lambda url: re.sub(r"state=[^&]+", "state=foreign", url),
        lambda url: f"{url}&state=again",
        lambda url: f"{url}&code=again",
        lambda url: re.sub(r"code=[^&]+", "", url),
        lambda url: f"{url}&iss=https://evil.example/v2.0",
        lambda url: f"{url}&x=%ff",
        lambda url: f"{url}&" + "&".join(f"p{number}=" for number in range(64)),
        lambda url: f"{url}&x={'a' * 20_000}",
    ],
)
async def test_a_callback_that_was_tampered_with_is_refused_before_its_code_is_redeemed(world: World, change: Any) -> None:
    async with world.browser() as browser:
        answer = await browser.get(change(await callback_url(world, browser)))
        assert answer.status_code == 403
        assert not redeemed(world)
        assert not any(cookie.name == "isolation" for cookie in browser.cookies.jar)


async def test_a_callback_is_good_once(world: World) -> None:
    async with world.browser() as browser:
        url = await callback_url(world, browser)
        assert (await browser.get(url)).status_code == 303
        assert (await browser.get(url)).status_code == 403
    assert sum(seen.path.endswith("/token") for seen in world.tenant.seen) == 1


async def test_the_providers_error_is_shown_escaped_and_audited(world: World) -> None:
    async with world.browser() as browser:
        state = re.search(r"state=([^&]+)", await callback_url(world, browser))
        assert state is not None
        text = "AADSTS50105%3A+%3Cscript%3Ealert(1)%3C/script%3E%0D%0ATrace+ID:+1"
        answer = await browser.get(
            f"{AUTH}/.isolation/callback?error=access_denied&error_description={text}&state={state.group(1)}"
        )
    assert answer.status_code == 403
    assert "<script" not in answer.text
    assert "&lt;script&gt;alert(1)" in answer.text
    assert "not assigned to this application" in answer.text
    assert "Trace ID" not in answer.text
    failed = world.log.events[-1]
    assert failed.kind is Kind.SIGN_IN_FAILED
    assert failed.ref in answer.text
    assert failed.detail["code"] == "idp-not-assigned"


async def test_a_hand_off_is_good_once_for_its_browser_and_its_host(world: World) -> None:
    async def code(browser: httpx.AsyncClient) -> str:
        browser.follow_redirects = False
        to_auth = await browser.get(f"{DATA}/secret")
        back = await browser.get(to_auth.headers["location"])
        assert back.headers["location"].startswith(f"{DATA}/.isolation/complete?code=")
        return back.headers["location"]

    async with world.browser() as browser, world.browser() as other:
        await world.sign_in(browser, f"{AUTH}/")
        assert (await other.get(await code(browser))).status_code == 403
        other.follow_redirects = False
        await other.get(f"{DATA}/")  # now it has a binding of its own, which is another one
        answer = await other.get(await code(browser))
        assert answer.status_code == 403
        assert 'content="0; url=/secret"' in answer.text
        # Even a browser that holds the same binding at the other host gets nothing there.
        url = await code(browser)
        (flow,) = (c.value for c in browser.cookies.jar if (c.name, c.domain) == ("isolation-flow", "data.localhost"))
        known = world.kit.cookies.read_browser([(b"cookie", f"isolation-flow={flow}".encode())], "data.localhost:8080")
        assert known is not None
        browser.cookies.set(
            "isolation-flow",
            world.kit.cookies.set_browser(known, "lab.localhost:8080").partition("=")[2].partition(";")[0],
            domain="lab.localhost",
        )
        assert (await browser.get(url.replace(DATA, LAB))).status_code == 403
        url = await code(browser)
        assert (await browser.get(url)).headers["location"] == "/secret"
        browser.cookies.delete("isolation", domain="data.localhost")
        assert (await browser.get(url)).status_code == 403
        assert not any(cookie.name == "isolation" for cookie in other.cookies.jar)


async def test_a_wish_that_we_did_not_seal_is_refused(world: World) -> None:
    sealed = world.kit.tokens.seal(Purpose.SIGN_IN, ["evil.example", "/", "x", False], audience="auth.localhost")
    foreign = Tokens(["z" * 32]).seal(Purpose.SIGN_IN, ["data.localhost", "/", "x", False], audience="auth.localhost")
    shaped = world.kit.tokens.seal(Purpose.SIGN_IN, {"host": "data.localhost"}, audience="auth.localhost")
    async with world.browser() as browser:
        await world.sign_in(browser, f"{AUTH}/")
        for to in (sealed, foreign, shaped, "x", "%00"):
            answer = await browser.get(f"{AUTH}/.isolation/sign-in?to={to}")
            assert answer.status_code == 403
            assert not answer.history
            assert "evil.example" not in answer.text


@pytest.mark.parametrize(
    "target", ["//evil.example/", "/\\evil.example", "/%09/evil.example", "https://evil.example/", "/.//evil"]
)
async def test_signing_in_never_leads_to_another_host(world: World, target: str) -> None:
    async with world.browser() as browser:
        await world.sign_in(browser, f"{AUTH}/")
        page = await browser.get(f"{DATA}/.isolation/sign-in", params={"target": target})
        assert str(page.url) == f"{DATA}/"


async def test_a_form_is_not_sent_again_after_signing_in(world: World) -> None:
    async with world.browser() as browser:
        browser.follow_redirects = False
        answer = await browser.post(f"{DATA}/delete", data={"a": "b"}, headers={"referer": f"{DATA}/list"})
        assert answer.status_code == 303
        to = parse_qs(urlsplit(answer.headers["location"]).query)["to"][0]
    wish = world.kit.unseal(to)
    assert wish is not None
    assert wish.target == "/list"


async def test_blocked_cookies_end_in_a_page_and_not_in_a_loop(world: World) -> None:
    class Forgetful(httpx.Cookies):
        def extract_cookies(self, response: httpx.Response) -> None:
            if response.url.port == world.tenant.port:
                super().extract_cookies(response)

    async with world.browser() as browser:
        browser._cookies = Forgetful()
        page = await world.sign_in(browser, f"{DATA}/x")
        assert page.status_code == 403
        assert "allow cookies for this site" in page.text


async def test_a_browser_that_drops_only_the_session_cookie_gets_a_page_after_three_rounds(world: World) -> None:
    class Dropping(httpx.Cookies):
        def extract_cookies(self, response: httpx.Response) -> None:
            super().extract_cookies(response)
            for cookie in list(self.jar):
                if cookie.name == "isolation" and cookie.domain == "data.localhost":
                    self.jar.clear(cookie.domain, cookie.path, cookie.name)

    async with world.browser() as browser:
        browser._cookies = Dropping()
        browser.follow_redirects = False
        page = await choose(browser, await follow(browser, await browser.get(f"{DATA}/x")), ALICE)
        page = await follow(browser, page, limit=40)
        assert page.status_code == 403
        assert "does not keep our cookies" in page.text
        # The count starts anew with the page: somebody who has allowed cookies by now gets through.
        assert (await browser.get(f"{DATA}/x")).status_code == 303


async def test_a_dead_session_cookie_is_no_sign_that_cookies_are_blocked(world: World) -> None:
    async with world.browser() as browser:
        await world.sign_in(browser, f"{DATA}/")
        for number in range(5):
            for session in await world.sessions.list_active():
                await world.sessions.revoke(session.digest, "revoked")
            page = await browser.get(f"{DATA}/{number}")
            assert page.text.endswith(f"/{number}")


async def test_a_session_that_dies_at_once_every_time_ends_in_a_page(world: World) -> None:
    async with world.browser() as browser:
        await world.sign_in(browser, f"{DATA}/")
        for _ in range(20):
            for session in await world.sessions.list_active():
                await world.sessions.revoke(session.digest, "revoked")
            page = await browser.get(f"{DATA}/x")
            if page.status_code == 403:
                break
        assert "goes round in circles" in page.text


async def follow(browser: httpx.AsyncClient, response: httpx.Response, limit: int = 20) -> httpx.Response:
    for _ in range(limit):
        if "location" not in response.headers:
            return response
        response = await browser.get(response.url.join(response.headers["location"]))
    pytest.fail("redirected for ever")


async def test_the_launcher_lists_what_the_person_may_open(world: World) -> None:
    async with world.browser() as browser:
        page = await world.sign_in(browser, f"{AUTH}/")
        assert "Payroll" in page.text
        assert f'href="{DATA}/"' in page.text
        assert "Opens directly" in page.text
        assert "Notebooks" not in page.text
        assert page.headers["cache-control"] == "no-store"
    async with world.browser() as stranger:
        answer = await stranger.get(f"{AUTH}/", headers={"sec-fetch-mode": "cors"})
        assert answer.status_code == 401


async def test_signing_out_ends_the_session_on_every_host_and_at_the_provider(world: World) -> None:
    async with world.browser() as browser:
        await world.sign_in(browser, f"{DATA}/")
        await browser.get(f"{LAB}/")
        cookies = {cookie.domain: cookie.value for cookie in browser.cookies.jar if cookie.name == "isolation"}
        form = await browser.get(f"{DATA}/.isolation/sign-out")
        assert ALICE in form.text
        token = re.search(r'name="token" value="([^"]+)"', form.text)
        assert token is not None
        out = await browser.post(f"{DATA}/.isolation/sign-out", data={"token": token.group(1)})
        assert out.status_code == 200
        assert "clear-site-data" in out.headers
        leave = re.search(r'http-equiv="refresh" content="1; url=([^"]+)"', out.text)
        assert leave is not None
        done = await browser.get(leave.group(1))
        assert "You are signed out" in done.text
        assert str(done.url) == f"{AUTH}/.isolation/signed-out"
        assert any(seen.path.endswith("/logout") for seen in world.tenant.seen)
        assert str((await browser.get(f"{DATA}/")).url).startswith(world.tenant.base_url)
    for host, value in cookies.items():
        async with world.browser(cookie=f"isolation={value}") as thief:
            answer = await thief.get(f"http://{host}:8080/", headers={"sec-fetch-mode": "cors"})
            assert answer.status_code == 401
    assert world.log.kinds().count(Kind.SIGN_OUT) == 1


@pytest.mark.parametrize("token", [None, "", "x", "other-purpose", "other-host"])
async def test_nobody_else_can_sign_a_person_out(world: World, token: str | None) -> None:
    async with world.browser() as browser:
        await world.sign_in(browser, f"{DATA}/")
        session = (await world.sessions.list_active())[0]
        if token == "other-purpose":
            token = world.kit.tokens.seal(Purpose.FLOW, session.digest, audience="data.localhost:8080")
        if token == "other-host":
            token = world.kit.tokens.seal(Purpose.FORM, session.digest, audience="lab.localhost:8080")
        answer = await browser.post(f"{DATA}/.isolation/sign-out", data={} if token is None else {"token": token})
        assert answer.status_code == 403
        assert (await browser.get(f"{DATA}/")).status_code == 200
        right = world.kit.tokens.seal(Purpose.FORM, session.digest, audience="data.localhost:8080")
        answer = await browser.post(
            f"{DATA}/.isolation/sign-out", data={"token": right}, headers={"sec-fetch-site": "cross-site"}
        )
        assert answer.status_code == 403
        assert (await browser.get(f"{AUTH}/.isolation/signed-out?leave=Entra")).status_code == 200
    assert len(await world.sessions.list_active()) == 1


async def test_signing_out_at_the_provider_ends_its_sessions_here(world: World) -> None:
    async with world.browser() as browser, world.browser() as frame:
        await world.sign_in(browser, f"{DATA}/")
        sid = (await world.sessions.list_active())[0].sid
        assert sid
        for wrong in ("", "x" * 200, "00000000-0000-0000-0000-000000000000"):
            await frame.get(f"{AUTH}/.isolation/front-channel-logout", params={"sid": wrong})
        await frame.get(f"{AUTH}/.isolation/front-channel-logout", params={"sid": sid, "iss": "https://evil.example"})
        assert len(await world.sessions.list_active()) == 1
        answer = await frame.get(f"{AUTH}/.isolation/front-channel-logout", params={"sid": sid})
        assert answer.status_code == 200
    assert await world.sessions.list_active() == []
    assert world.log.kinds()[-1] is Kind.SIGN_OUT


@pytest.mark.parametrize(
    ("endpoint", "kind"),
    [
        ("discovery", "status"),
        ("discovery", "malformed"),
        ("discovery", "wrong-shape"),
        ("discovery", "redirect"),
        ("discovery", "truncated"),
    ],
)
async def test_a_provider_that_is_down_is_a_page_and_recovers(world: World, endpoint: str, kind: str) -> None:
    world.tenant.fail(endpoint, kind)
    async with world.browser() as browser:
        page = await browser.get(f"{DATA}/")
        assert page.status_code == 503
        assert page.headers["retry-after"]
        assert "Sign-in is not available" in page.text
        world.tenant.faults.clear()
        assert (await world.sign_in(browser, f"{DATA}/ok")).text.endswith("/ok")


@pytest.mark.parametrize("endpoint", ["token", "keys"])
@pytest.mark.parametrize("kind", ["status", "malformed", "wrong-shape", "redirect", "truncated"])
async def test_a_provider_that_fails_half_way_signs_nobody_in(world: World, endpoint: str, kind: str) -> None:
    async with world.browser() as browser:
        page = await browser.get(f"{DATA}/")
        world.tenant.fail(endpoint, kind)
        answer = await choose(browser, page, ALICE)
        assert answer.status_code in {403, 503}
        assert not any(cookie.name == "isolation" for cookie in browser.cookies.jar)
        assert world.log.kinds() == [Kind.SIGN_IN_FAILED]
        assert world.log.events[0].ref in answer.text


async def test_a_stopped_provider_is_a_page(world: World) -> None:
    world.tenant.stop()
    async with world.browser() as browser:
        page = await browser.get(f"{DATA}/")
        assert page.status_code == 503


@pytest.mark.parametrize("skew", [-4_300.0, 600.0])
async def test_clocks_that_differ_get_a_page_that_says_so(world: World, skew: float) -> None:
    world.tenant.switches.skew = skew
    async with world.browser() as browser:
        page = await world.sign_in(browser, f"{DATA}/")
        assert page.status_code == 503
        assert "The clocks differ" in page.text


async def test_forged_tokens_sign_nobody_in(world: World) -> None:
    for known_kid in (True, False):
        world.tenant.keys.forge(on=True, known_kid=known_kid)
        async with world.browser() as browser:
            page = await world.sign_in(browser, f"{DATA}/")
            assert page.status_code == 403
            assert not any(cookie.name == "isolation" for cookie in browser.cookies.jar)
    assert [event.detail["code"] for event in world.log.events] == ["token-signature", "token-key-unknown"]


async def test_keys_that_were_rotated_are_fetched_when_they_are_met(world: World) -> None:
    async with world.browser() as browser:
        await world.sign_in(browser, f"{DATA}/")
    world.tenant.keys.rotate(drop_old=True)
    async with world.browser() as browser:
        assert (await world.sign_in(browser, f"{DATA}/")).status_code == 200


async def test_overage_is_no_list_of_groups(world: World) -> None:
    world.tenant.switches.overage = True
    async with world.browser() as browser:
        await world.sign_in(browser, f"{DATA}/")
    assert world.log.events[0].detail["groups"] == "not in the token"


async def test_nothing_happens_that_is_not_in_the_log(world: World) -> None:
    world.log.broken = True
    async with world.browser() as browser:
        page = await world.sign_in(browser, f"{DATA}/")
        assert page.status_code == 503
        assert "We cannot check your access right now" in page.text
        assert not any(cookie.name == "isolation" for cookie in browser.cookies.jar)


async def test_own_pages_carry_the_headers_that_protect_them(world: World) -> None:
    async with world.browser() as browser:
        for url in (
            f"{AUTH}/.isolation/callback",
            f"{DATA}/.isolation/complete",
            f"{DATA}/.isolation/sign-out",
            f"{AUTH}/.isolation/sign-in?to=x",
        ):
            answer = await browser.get(url)
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "script" not in answer.text
        assert (await browser.post(f"{AUTH}/.isolation/callback")).status_code == 405
        assert (await browser.get(f"{DATA}/.isolation/callback")).status_code == 404
        assert (await browser.get(f"{AUTH}/.isolation/complete")).status_code == 404
        assert (await browser.get(f"{DATA}/.isolation/static/pages.css")).headers["content-type"] == "text/css; charset=utf-8"
        assert (await browser.get(f"{DATA}/.isolation/static/../pages.py")).status_code == 404
