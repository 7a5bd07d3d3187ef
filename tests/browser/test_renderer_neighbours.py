"""Two sessions on one node: what a page keeps in one of them, no page of the other finds."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from renderer.wire import messages as m
from renderer.wire.control import LeaseState
from tests.support.renderer import (
    ORIGIN,
    Gateway,
    NodeProcess,
    ViewerClient,
    end_lease,
    new_runtime_dir,
    node_process,
    open_to_all,
    start_lease,
)

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

# Everything an origin can keep, written or looked for by the same page; the title tells.
KEEPS = """<!doctype html><title>-</title><body><script>
const database = () => new Promise((done, failed) => {
  const opening = indexedDB.open('kept', 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore('store');
  opening.onsuccess = () => done(opening.result);
  opening.onerror = () => failed(opening.error);
});
const request = (asked) => new Promise((done, failed) => { asked.onsuccess = () => done(asked.result ?? null); asked.onerror = () => failed(asked.error); });
const write = async () => {
  document.cookie = 'kept=yes; max-age=3600; path=/';
  localStorage.kept = 'yes';
  await request((await database()).transaction('store', 'readwrite').objectStore('store').put('yes', 'kept'));
  await (await caches.open('kept')).put('/kept', new Response('yes'));
  const file = await (await navigator.storage.getDirectory()).getFileHandle('kept', { create: true });
  const stream = await file.createWritable();
  await stream.write('yes');
  await stream.close();
  await navigator.serviceWorker.register('/worker.js');
  await navigator.serviceWorker.ready;
};
const look = async () => {
  const cached = await (await caches.open('kept')).match('/kept');
  const root = await navigator.storage.getDirectory();
  return {
    cookie: document.cookie,
    local: localStorage.kept ?? '',
    database: await request((await database()).transaction('store').objectStore('store').get('kept')) ?? '',
    cache: cached === undefined ? '' : await cached.text(),
    file: await root.getFileHandle('kept').then(async (file) => (await file.getFile()).text(), () => ''),
    worker: (await navigator.serviceWorker.getRegistrations()).length,
  };
};
(async () => {
  if (location.pathname === '/write') await write();
  document.title = JSON.stringify(await look());
})().catch((error) => { document.title = JSON.stringify({ failed: String(error) }); });
</script>"""
ALL = {"cookie": "kept=yes", "local": "yes", "database": "yes", "cache": "yes", "file": "yes", "worker": 1}
NOTHING = {"cookie": "", "local": "", "database": "", "cache": "", "file": "", "worker": 0}
FIELD = "<!doctype html><title>-</title><textarea id=t autofocus style='position:fixed;inset:0'>{text}</textarea><script>t.oninput = () => document.title = t.value; t.select()</script>"
PASTES = """<!doctype html><title>-</title><textarea id=t autofocus style='position:fixed;inset:0'></textarea><script>
onclick = async () => {
  t.focus();
  const results = [document.execCommand('paste')];
  results.push(await navigator.clipboard.readText().catch((error) => error.name));
  document.title = JSON.stringify([...results, t.value]);
};
</script>"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway() -> AsyncIterator[Gateway]:
    async with Gateway() as running:
        for path in ("/write", "/look"):
            running.html(path, KEEPS)
        running.pages[f"{ORIGIN}/worker.js"] = (200, {"Content-Type": "text/javascript"}, b"onfetch = () => {};")
        running.html("/", "<title>plain</title>")
        running.html("/copies", FIELD.format(text="the secret of a"))
        running.html("/pastes", PASTES)
        running.html("/private", "<title>inside</title>")
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def node() -> AsyncIterator[NodeProcess]:
    runtime_dir = open_to_all(new_runtime_dir())
    async with node_process(runtime_dir, "--warm", "0", "--capacity", "4") as running:
        yield running
    shutil.rmtree(runtime_dir.parent)


async def kept(viewer: ViewerClient) -> Any:
    told = json.loads((await viewer.titled(r"\{.*\}"))[0])
    assert "failed" not in told, told
    return told


@pytest.mark.case(22)
async def test_nothing_that_a_page_keeps_is_found_by_the_same_page_in_another_session(
    node: NodeProcess, gateway: Gateway
) -> None:
    async with node.control() as control:
        for name in ("keeps", "looks"):
            assert (await start_lease(control, name, gateway.egress(name))).state is LeaseState.STARTED
        async with node.viewer("keeps", "/write") as writes:
            assert await kept(writes) == ALL
        async with node.viewer("keeps", "/look") as same:
            assert await kept(same) == ALL, "the same session has it: what the other lacks, it lacks for being another"
        async with node.viewer("looks", "/look") as other:
            assert await kept(other) == NOTHING
        await end_lease(control, "keeps")
        # Its successor under the same name is another session, too.
        assert (await start_lease(control, "keeps", gateway.egress("keeps"))).state is LeaseState.STARTED
        async with node.viewer("keeps", "/look") as successor:
            assert await kept(successor) == NOTHING
        for name in ("keeps", "looks"):
            await end_lease(control, name)


@pytest.mark.case(22)
async def test_a_password_given_in_one_session_is_asked_for_in_the_other(node: NodeProcess, gateway: Gateway) -> None:
    gateway.protected[f"{ORIGIN}/private"] = "Basic " + base64.b64encode(b"ann:opens").decode()
    try:
        async with node.control() as control:
            for name in ("gives", "lacks"):
                assert (await start_lease(control, name, gateway.egress(name))).state is LeaseState.STARTED
            async with node.viewer("gives", "/private") as gives:
                asked = await gives.message(m.Auth)
                await gives.say(m.AuthReply(asked.id, True, "ann", "opens"))
                await gives.title("inside")
            async with node.viewer("gives", "/private") as again:
                await again.title("inside")
                assert not [x for x in again.messages if isinstance(x, m.Auth)], "one session asks once"
            async with node.viewer("lacks", "/private") as lacks:
                await lacks.message(m.Auth)
            for name in ("gives", "lacks"):
                await end_lease(control, name)
    finally:
        gateway.protected.clear()


@pytest.mark.case(21)
async def test_what_is_copied_in_one_session_is_not_pasted_in_another(node: NodeProcess, gateway: Gateway) -> None:
    async with node.control() as control:
        for name in ("copies", "pastes"):
            assert (await start_lease(control, name, gateway.egress(name))).state is LeaseState.STARTED
        async with node.viewer("copies", "/copies") as copies, node.viewer("pastes", "/pastes") as pastes:
            await copies.message(m.Editing, lambda field: field.mode is m.EditingMode.TEXT)
            await copies.say(m.CopyRequest(False))
            assert (await copies.message(m.Clipboard)).text == "the secret of a"
            # Everything that pastes without the person's own clipboard: the key, the middle button, and the page itself.
            await pastes.message(m.Editing, lambda field: field.mode is m.EditingMode.TEXT)
            await pastes.key("v", "KeyV", 2)
            await pastes.key("Insert", "Insert", 8)
            await pastes.click(100, 100, button=1)
            await pastes.click(100, 100)
            told = json.loads((await pastes.titled(r"\[.*\]"))[0])
            assert "secret" not in json.dumps(told)
            assert told[2] == "", "nothing came into the field by any way"
        for name in ("copies", "pastes"):
            await end_lease(control, name)
            await asyncio.sleep(0)
