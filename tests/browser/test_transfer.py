"""Files, prints and pictures across the whole chain: a person's Chromium, the viewer, the relay with its gatekeeper, a real node and its Chromium."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Download

from isolation.policy.controls import Clipboard, Controls, Transfer
from isolation.testing.viewer_site import ViewerSite
from renderer.transfer.clipboard import HEARD_SECONDS
from renderer.wire.controls import ClipboardKind, FileKind
from tests.support.isolated import Isolation, Seat, isolation, sit, wait  # noqa: F401 - fixtures
from tests.support.renderer import OTHER

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

MIB = 1024 * 1024
ALL = Controls(
    clipboard=Clipboard.BOTH,
    clipboard_types=frozenset(ClipboardKind),
    clipboard_max_kb=1024,
    clipboard_per_minute=100,
    download=Transfer.ALLOW,
    download_max_mb=2,
    upload=Transfer.ALLOW,
    upload_max_mb=2,
    print=True,
)
PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"
PNG = bytes(imagecodecs.png_encode(np.dstack([np.full((20, 30), value, np.uint8) for value in (200, 30, 60)])))
AT = "position:absolute;left:20px;width:200px;height:30px;"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(isolation: Isolation) -> AsyncIterator[ViewerSite]:  # noqa: F811
    async with isolation.site(ALL) as running:
        yield running


def serve(site: ViewerSite, gateway: Any, path: str, kind: str, body: bytes, disposition: str = "") -> None:
    headers = {"Content-Type": kind} | ({"Content-Disposition": disposition} if disposition else {})
    gateway.pages[site.origin + path] = (200, headers, body)


async def saved(seat: Seat, act: Any) -> tuple[str, bytes]:
    """Do something that ends in a download of the person's own browser; return its name and bytes."""
    async with seat.page.expect_download() as waiting:
        await act
    return await content_of(await waiting.value)


async def content_of(download: Download) -> tuple[str, bytes]:
    path = Path(await download.path())
    return download.suggested_filename, await asyncio.to_thread(path.read_bytes)


async def line(seat: Seat, text: str) -> None:
    """Wait for a line of the transfer panel, or a note, that says this."""
    await seat.page.locator(".transfer, .toast", has_text=text).first.wait_for()


def last(site: ViewerSite) -> Any:
    return site.audit.transfers[-1]


# ---------------------------------------------------------------- downloads

LINKS = f"""<a id=d style="{AT}top:20px" download="report.csv" href="data:text/csv,a%2Cb">data</a>
<a id=b style="{AT}top:60px" download="notes.txt">blob</a><a style="{AT}top:100px" href="/given">disposition</a>
<form method=post action="/posted" style="{AT}top:140px"><button style="width:200px;height:30px">post</button></form>
<a style="{AT}top:180px" href="/paper.pdf">pdf</a><a style="{AT}top:220px" href="/paper.pdf" target=_blank>pdf in a tab</a>
<script>b.href=URL.createObjectURL(new Blob(['blob words']))</script>"""


@pytest.mark.feature("download: link with data:", by="mouse")
@pytest.mark.feature("download: blob link", by="mouse")
@pytest.mark.feature("download: Content-Disposition", by="mouse")
@pytest.mark.feature("download: answer to a form", by="mouse")
@pytest.mark.feature("download: PDF", by="mouse")
@pytest.mark.case(43)
async def test_every_way_to_a_download_ends_on_the_device(isolation: Isolation, site: ViewerSite, sit: Any) -> None:  # noqa: F811
    serve(site, isolation.gateway, "/given", "application/octet-stream", b"\x00\x01given", 'attachment; filename="given.bin"')
    serve(site, isolation.gateway, "/posted", "application/zip", b"PK\x05\x06" + b"\0" * 18, "attachment; filename=all.zip")
    serve(site, isolation.gateway, "/paper.pdf", "application/pdf", PDF)
    async with sit(LINKS) as seat:
        for y, name, content in (
            (35, "report.csv", b"a,b"),
            (75, "notes.txt", b"blob words"),
            (115, "given.bin", b"\x00\x01given"),
            (155, "all.zip", b"PK\x05\x06" + b"\0" * 18),
            (195, "paper.pdf", PDF),
            (235, "paper.pdf", PDF),
        ):
            assert await saved(seat, seat.page.mouse.click(50, y)) == (name, content)
            record = last(site)
            assert (record.direction, record.outcome, record.name, record.size) == ("download", "allowed", name, len(content))
            assert record.sha256 == hashlib.sha256(content).hexdigest()
        assert len(seat.context.pages) == 1, "a window opened for a download goes by itself"
        await line(seat, "Saved to your device.")


@pytest.mark.feature("download: blob link", by="keyboard")
async def test_a_download_by_keyboard(sit: Any) -> None:  # noqa: F811
    async with sit(LINKS) as seat:
        await seat.page.mouse.click(500, 300)
        await seat.page.keyboard.press("Tab")
        await seat.page.keyboard.press("Tab")
        assert await saved(seat, seat.page.keyboard.press("Enter")) == ("notes.txt", b"blob words")


@pytest.mark.feature("download: blob link", by="touch")
async def test_a_download_by_touch(sit: Any) -> None:  # noqa: F811
    async with sit(LINKS, has_touch=True) as seat:
        assert await saved(seat, seat.tap(50, 75)) == ("notes.txt", b"blob words")


@pytest.mark.case(37, 38)
@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("../../x.txt", "_.._x.txt"),
        ("con.txt", "_con.txt"),
        ("invoice\u202efdp.txt", None),
        ("<img src=x onerror=alert(1)>.txt", None),
        ("n" * 400 + ".txt", None),
    ],
)
async def test_a_hostile_name_is_only_a_name(site: ViewerSite, sit: Any, name: str, clean: str | None) -> None:  # noqa: F811
    body = f"<a id=a style='{AT}top:20px'>x</a><script>a.download={name!r};a.href=URL.createObjectURL(new Blob(['x']))</script>"
    async with sit(body) as seat:
        got, _ = await saved(seat, seat.page.mouse.click(50, 35))
        assert clean is None or got == clean
        assert got.endswith(".txt")
        assert len(got.encode()) <= 255
        assert not set(got) & set("/\\\0\u202e<>")
        shown = await seat.page.locator(".transfer-name").first.text_content()
        assert shown == last(site).name
        assert not set(shown) & set("\u202e\0/")


@pytest.mark.case(43, 53)
async def test_what_is_too_large_or_lies_does_not_arrive(site: ViewerSite, sit: Any) -> None:  # noqa: F811
    body = f"""<a id=a style="{AT}top:20px" download=large.bin>large</a><a id=b style="{AT}top:60px" download=lie.pdf>lie</a>
    <script>a.href=URL.createObjectURL(new Blob([new Uint8Array(3*2**20)]));b.href=URL.createObjectURL(new Blob(['MZ no pdf']))</script>"""
    async with sit(body) as seat:
        await seat.page.mouse.click(50, 35)
        await line(seat, "Not saved: the file is too large.")
        assert (last(site).outcome, last(site).why, last(site).name) == ("refused", "too-large", "large.bin")
        await seat.page.mouse.click(50, 75)
        await line(seat, "the file isn’t what its name says")
        assert (last(site).outcome, last(site).why, last(site).name) == ("refused", "wrong-type", "lie.pdf")


async def test_a_large_file_is_whole_and_the_page_goes_on_meanwhile(sit: Any) -> None:  # noqa: F811
    body = f"""<a id=a style="{AT}top:20px" download=large.bin>large</a><input id=t style="{AT}top:60px" oninput="document.title=this.value">
    <script>const bytes=new Uint8Array(2*2**20);for(let i=0;i<bytes.length;i++)bytes[i]=i*7%251;a.href=URL.createObjectURL(new Blob([bytes]))</script>"""
    async with sit(body) as seat:
        await seat.page.mouse.click(50, 75)
        async with seat.page.expect_download() as waiting:
            await seat.page.mouse.click(50, 35)
            await seat.page.mouse.click(50, 75)
            await seat.page.keyboard.type("meanwhile")
        await seat.titled("meanwhile")
        _, content = await content_of(await waiting.value)
        assert content == bytes(i * 7 % 251 for i in range(2 * MIB))


async def test_what_comes_unasked_waits_for_the_person(isolation: Isolation, site: ViewerSite, sit: Any) -> None:  # noqa: F811
    serve(site, isolation.gateway, "/auto", "text/plain", b"auto", "attachment; filename=auto.txt")
    async with sit("page") as seat:
        await seat.page.evaluate(
            "() => { const real = performance.now.bind(performance); performance.now = () => real() + 60000 }"
        )
        await seat.go("/auto")
        await seat.page.locator(".transfer", has_text="The page offers this file").wait_for()
        assert await saved(seat, seat.page.get_by_role("button", name="Save").click()) == ("auto.txt", b"auto")


# ---------------------------------------------------------------- uploads

INPUTS = f"""<input type=file id=one style="{AT}top:20px"><input type=file id=many multiple accept=".txt" style="{AT}top:60px">
<input type=file id=tree webkitdirectory style="{AT}top:100px"><div id=zone style="{AT}top:140px;height:100px;background:#ddd">drop</div>
<script>for(const input of [one,many,tree])input.onchange=async()=>
say('got',...await Promise.all([...input.files].map(async f=>f.name+':'+f.size+':'+(await f.text()).slice(0,20))));
zone.ondragover=e=>e.preventDefault();zone.ondrop=async e=>{{e.preventDefault();const files=[...e.dataTransfer.files];
say('dropped',...await Promise.all(files.map(async f=>f.name+':'+f.size+':'+(await f.text()).slice(0,20))))}}</script>"""


def given(name: str, content: bytes) -> Any:
    return {"name": name, "mimeType": "text/plain", "buffer": content}


async def choose(seat: Seat, act: Any, *files: Any) -> None:
    async with seat.page.expect_file_chooser() as waiting:
        await act
    await (await waiting.value).set_files(list(files))


@pytest.mark.feature("upload: file input", by="mouse")
@pytest.mark.feature("upload: several files", by="mouse")
@pytest.mark.case(44)
async def test_files_chosen_on_the_device_are_given_to_the_page(site: ViewerSite, sit: Any) -> None:  # noqa: F811
    async with sit(INPUTS) as seat:
        await choose(seat, seat.page.mouse.click(50, 35), given("Bericht März.txt", b"hello"))
        await seat.titled(r".*got Bericht März.txt:5:hello")
        record = last(site)
        assert (record.direction, record.outcome, record.name, record.size) == ("upload", "allowed", "Bericht März.txt", 5)
        assert record.sha256 == hashlib.sha256(b"hello").hexdigest()
        await choose(
            seat, seat.page.mouse.click(50, 75), given("a.txt", b"a" * MIB), given("empty.txt", b""), given("b.txt", b"b")
        )
        await seat.titled(rf".*got a.txt:{MIB}:a{{20}} empty.txt:0: b.txt:1:b")
        await line(seat, "Given to the page.")


@pytest.mark.feature("upload: file input", by="keyboard")
async def test_an_upload_by_keyboard(sit: Any) -> None:  # noqa: F811
    async with sit(INPUTS) as seat:
        await seat.page.mouse.click(500, 300)
        await seat.page.keyboard.press("Tab")
        await choose(seat, seat.page.keyboard.press("Space"), given("k.txt", b"keys"))
        await seat.titled(r".*got k.txt:4:keys")


@pytest.mark.feature("upload: file input", by="touch")
async def test_an_upload_by_touch(sit: Any) -> None:  # noqa: F811
    async with sit(INPUTS, has_touch=True) as seat:
        await choose(seat, seat.tap(50, 35), given("t.txt", b"touch"))
        await seat.titled(r".*got t.txt:5:touch")


async def test_without_a_fresh_press_a_button_opens_the_chooser(sit: Any) -> None:  # noqa: F811
    async with sit(INPUTS) as seat:
        await seat.page.evaluate("() => Object.defineProperty(navigator, 'userActivation', { value: { isActive: false } })")
        await seat.page.mouse.click(50, 35)
        panel = seat.page.get_by_role("dialog", name="The page asks for a file")
        await panel.wait_for()
        await seat.page.keyboard.press("Escape")
        await panel.wait_for(state="hidden")
        await seat.page.mouse.click(50, 35)
        await choose(seat, panel.get_by_role("button", name="Choose a file").click(), given("p.txt", b"panel"))
        await seat.titled(r".*got p.txt:5:panel")


DROP = """([x, y, files, size]) => { const data = new DataTransfer();
for (const [name, text] of files) { const file = new File([text], name); if (size) Object.defineProperty(file, 'size', { value: size }); data.items.add(file); }
surface.dispatchEvent(new DragEvent('drop', { dataTransfer: data, clientX: x, clientY: y, bubbles: true, cancelable: true })) }"""


@pytest.mark.feature("upload: files dropped on the page", by="mouse")
@pytest.mark.case(44)
async def test_files_dropped_on_the_page_reach_it(sit: Any) -> None:  # noqa: F811
    async with sit(INPUTS) as seat:
        await seat.page.evaluate(DROP, [50, 180, [["d.txt", "dropped words"], ["e.txt", "x"]], 0])
        await seat.titled(r".*dropped d.txt:13:dropped words e.txt:1:x")
        # beside the zone nobody takes it, and the page stays where it is
        await seat.page.evaluate(DROP, [600, 400, [["d.txt", "dropped words"]], 0])
        await line(seat, "Given to the page.")
        await seat.titled(r".*dropped d.txt:13:dropped words e.txt:1:x")


@pytest.mark.case(44)
async def test_what_may_not_be_uploaded_is_held_back_and_said(site: ViewerSite, sit: Any) -> None:  # noqa: F811
    async with sit(INPUTS) as seat:
        await seat.page.mouse.click(50, 115)
        await line(seat, "Files from your device can’t be given to this page.")  # a whole folder
        await seat.page.evaluate(DROP, [50, 180, [["huge.bin", "x"]], 5_000_000_000])
        await line(seat, "Too large: at most 2.1 MB")
        await choose(seat, seat.page.mouse.click(50, 35), given("lie.png", b"<script>alert(1)</script>"))
        await line(seat, "the file isn’t what its name says")
        assert (last(site).outcome, last(site).why) == ("refused", "wrong-type")
        await seat.titled("-")


# ---------------------------------------------------------------- printing

PAPER = f"""<h1>Paper</h1><button style="{AT}top:100px" onclick="print()">print</button>
<button style="{AT}top:140px" id=loop onclick="for(let i=0;i<50;i++)print()">loop</button><script>document.title='Run: May/June'</script>"""


@pytest.mark.feature("print", by="keyboard")
@pytest.mark.feature("print: by the page", by="mouse")
@pytest.mark.case(43, 49)
async def test_a_page_is_printed_as_a_pdf_and_a_loop_of_prints_once(site: ViewerSite, sit: Any) -> None:  # noqa: F811
    async with sit(PAPER) as seat:
        await seat.titled("Run: May/June")
        name, content = await saved(seat, seat.page.mouse.click(50, 155))
        assert name == "June.pdf"
        assert content.startswith(b"%PDF-")
        assert (last(site).direction, last(site).kind, last(site).outcome) == ("print", "pdf", "allowed")
        name, content = await saved(seat, seat.page.keyboard.press("Control+p"))
        assert content.startswith(b"%PDF-")
        assert [r.direction for r in site.audit.transfers].count("print") == 2


# ---------------------------------------------------------------- clipboard

PICTURES = f"""<button style="{AT}top:20px" onclick="put()">copy picture</button>
<button style="{AT}top:60px" onclick="navigator.clipboard.writeText('by script')">copy words</button>
<textarea id=t style="{AT}top:100px">selected words</textarea>
<button style="{AT}top:140px" onclick="t.select();document.execCommand('copy')">execCommand</button>
<div id=rich style="{AT}top:180px"><b>bold</b> words</div>
<script>async function put(){{const c=new OffscreenCanvas(30,20);const g=c.getContext('2d');g.fillStyle='#c81e3c';g.fillRect(0,0,30,20);
await navigator.clipboard.write([new ClipboardItem({{'image/png':await c.convertToBlob()}})])}}
addEventListener('paste',async e=>{{const f=e.clipboardData.files[0];if(!f)return;const i=await createImageBitmap(f);say('picture',f.type,i.width,i.height)}})</script>"""


async def device_clipboard(seat: Seat) -> tuple[str, list[int]]:
    """What the person's own clipboard holds: its text, and the first pixel and size of its picture."""
    page = await seat.context.new_page()
    await page.set_content("<textarea id=t autofocus></textarea>")
    await page.evaluate(
        """() => { globalThis.found = new Promise(resolve => addEventListener('paste', async event => {
        const file = event.clipboardData.files[0], text = event.clipboardData.getData('text/plain');
        if (!file) { resolve([text, []]); return; }
        const bitmap = await createImageBitmap(file), canvas = new OffscreenCanvas(bitmap.width, bitmap.height), pen = canvas.getContext('2d');
        pen.drawImage(bitmap, 0, 0); resolve([text, [...pen.getImageData(0, 0, 1, 1).data.slice(0, 3), bitmap.width, bitmap.height]]); })) }"""
    )
    await page.focus("#t")
    await page.keyboard.press("Control+v")
    found = await page.evaluate("() => globalThis.found")
    await page.close()
    return found[0], found[1]


@pytest.mark.feature("clipboard: picture to the device", by="mouse")
@pytest.mark.feature("clipboard: text by script", by="mouse")
@pytest.mark.case(41)
async def test_what_scripts_copy_reaches_the_device(site: ViewerSite, sit: Any) -> None:  # noqa: F811
    async with sit(PICTURES) as seat:
        await seat.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site.origin)
        copied = seat.page.locator(".toast", has_text="Copied to your clipboard")
        for y, text, picture in ((35, "", [200, 30, 60, 30, 20]), (75, "by script", []), (155, "selected words", [])):
            await seat.page.mouse.click(50, y)
            await copied.wait_for()
            assert await device_clipboard(seat) == (text, picture)
            await seat.page.bring_to_front()
            # By now it may have gone by itself.
            await copied.get_by_role("button", name="Dismiss").evaluate_all("all => all.forEach(one => one.click())")
            await seat.page.evaluate(
                "() => new Promise(resolve => setTimeout(resolve, 2600))"
            )  # the same note is not repeated sooner
        assert [r.direction for r in site.audit.transfers[-3:]].count("copy") == 1


async def test_only_what_is_copied_is_announced(site: ViewerSite, sit: Any) -> None:  # noqa: F811
    """Selecting text changes a clipboard of its own on Linux, and Chromium calls that a change like any other."""
    body = f"""<input value="copied here" style="{AT}top:20px"><button onclick="navigator.clipboard.writeText('by script')" style="{AT}top:60px">c</button>"""
    async with sit(body) as first:
        await first.page.mouse.click(50, 30)
        await first.page.keyboard.press("Control+a")
        await first.page.keyboard.press("Control+c")
        offered = "document.querySelector('textarea.copied')?.value"
        await first.true(f"{offered} === 'copied here'")
        await first.page.wait_for_timeout(1000 * HEARD_SECONDS + 500)  # within that it is one and the same change
        async with sit(body) as second:
            await second.page.evaluate(
                f"""() => {{ window.offers = new Set(); new MutationObserver(() => offers.add({offered}))
                     .observe(document.body, {{ childList: true, subtree: true }}); }}"""
            )
            await second.page.mouse.click(50, 30)
            await second.page.keyboard.press("Control+a")
            await second.page.evaluate("() => new Promise(resolve => setTimeout(resolve, 1500))")
            await second.page.mouse.click(50, 75)
            await second.true("offers.has('by script')")
            assert not await second.page.evaluate("offers.has('copied here')")


@pytest.mark.feature("context menu: copy an image", by="mouse")
@pytest.mark.case(41, 43)
async def test_pictures_of_the_page_are_copied_and_saved_from_its_menu(isolation: Isolation, site: ViewerSite, sit: Any) -> None:  # noqa: F811
    serve(site, isolation.gateway, "/own.png", "image/png", PNG)
    isolation.gateway.pages[f"{OTHER}/other.png"] = (200, {"Content-Type": "image/png"}, PNG)
    body = f"""<img src=/own.png style="{AT}top:20px;width:60px"><img src="{OTHER}/other.png" onload="say('seen')" style="{AT}top:80px;width:60px">"""
    async with sit(body) as seat:
        await seat.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site.origin)
        await seat.titled("seen")
        for y in (35, 95):  # another site's picture, which no script may read, is copied as every browser copies it
            await seat.page.mouse.click(40, y, button="right")
            await seat.page.get_by_role("menuitem", name="Copy image").click()
            await seat.page.locator(".toast", has_text="Copied to your clipboard").wait_for()
            assert await device_clipboard(seat) == ("", [200, 30, 60, 30, 20])
            await seat.page.bring_to_front()
            await seat.page.get_by_role("button", name="Dismiss").click()
            await seat.page.evaluate(
                "() => new Promise(resolve => setTimeout(resolve, 2600))"
            )  # the same note is not repeated sooner
        await seat.page.mouse.click(40, 35, button="right")
        assert await saved(seat, seat.page.get_by_role("menuitem", name="Save image…").click()) == ("own.png", PNG)


@pytest.mark.feature("clipboard: picture to the page", by="keyboard")
@pytest.mark.case(44)
async def test_a_picture_is_pasted_into_the_page(site: ViewerSite, sit: Any) -> None:  # noqa: F811
    async with sit(PICTURES) as seat:
        await seat.page.mouse.click(50, 115)
        await seat.page.evaluate(
            """base64 => { const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(base64), c => c.charCodeAt(0))], 'shot.png', { type: 'image/png' }));
            keys.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true })) }""",
            base64.b64encode(PNG).decode(),
        )
        await seat.titled(r".*picture image/png 30 20")
        assert (last(site).direction, last(site).outcome, last(site).kind) == ("paste", "allowed", "png")


# ---------------------------------------------------------------- off


@pytest.mark.feature("control: download", by="mouse")
@pytest.mark.feature("control: upload", by="mouse")
@pytest.mark.feature("control: print", by="keyboard")
@pytest.mark.case(35, 43, 44, 49)
async def test_with_everything_off_nothing_crosses(isolation: Isolation) -> None:  # noqa: F811
    async with (
        isolation.site(Controls()) as closed,
        isolation.seat(closed, LINKS + INPUTS.replace("top:", "left:300px;top:") + PAPER) as seat,
    ):
        await seat.page.mouse.click(50, 35)
        await line(seat, "files can’t be saved from this page")
        await seat.page.mouse.click(330, 35)
        await line(seat, "Files from your device can’t be given to this page.")
        await seat.page.keyboard.press("Control+p")
        await line(seat, "Printing is turned off")
        assert {r.outcome for r in closed.audit.transfers} == {"refused"}
        assert {"download", "upload"} <= {r.direction for r in closed.audit.transfers}


@pytest.mark.feature("control: kinds and sizes of downloads", by="mouse")
@pytest.mark.feature("control: kinds and sizes of uploads", by="mouse")
@pytest.mark.case(43, 44)
async def test_kinds_are_held_to_by_content(isolation: Isolation) -> None:  # noqa: F811
    only = Controls(
        download=Transfer.ALLOW,
        download_types=frozenset({FileKind.PDF}),
        upload=Transfer.ALLOW,
        upload_types=frozenset({FileKind.PNG}),
    )
    body = f"""<a id=a style="{AT}top:20px" download=x.txt href="data:,x">t</a><a id=b style="{AT}top:60px" download=x.pdf>p</a>
    <input type=file id=f style="{AT}top:100px" onchange="say(f.files[0].name)"><script>b.href=URL.createObjectURL(new Blob(['%PDF-1.4 x']))</script>"""
    async with isolation.site(only) as narrow, isolation.seat(narrow, body) as seat:
        await seat.page.mouse.click(50, 35)
        await line(seat, "files of this kind are held back")
        assert (await saved(seat, seat.page.mouse.click(50, 75)))[0] == "x.pdf"
        await choose(seat, seat.page.mouse.click(50, 115), given("x.txt", b"x"))
        await line(seat, "Files of this kind can’t be given")
        await choose(seat, seat.page.mouse.click(50, 115), {"name": "x.png", "mimeType": "image/png", "buffer": PNG})
        await seat.titled("x.png")
