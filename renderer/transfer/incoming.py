"""Files on their way to a page: asked for by an input or dropped on the page, taken in pieces, judged, and only then handed over whole."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from renderer.cdp import Tasks, is_gone
from renderer.input.validate import Controls
from renderer.transfer.store import Store, create, write_all
from renderer.wire import messages as m
from renderer.wire.blobs import FILE_WINDOW
from renderer.wire.files import HEAD, file_name, permitted

# ---------------------------------------------------------------- limits
MAX_UPLOADS = 4  # of one page at once: a person drops one lot at a time

Hand = Callable[[Sequence[str]], Awaitable[None]]

log = logging.getLogger("renderer.transfer")


class RefusalError(Exception):
    """An upload that ends here."""

    def __init__(self, code: m.TransferCode) -> None:
        super().__init__(code.value)
        self.code = code


@dataclass(eq=False)
class _Upload:
    """Files under way. ``hand`` gives the whole files to the page."""

    id: int
    files: tuple[m.FileInfo, ...]
    hand: Hand
    paths: list[Path] = field(default_factory=list)
    pieces: asyncio.Queue[m.FileData] = field(default_factory=asyncio.Queue)
    waiting: int = 0  # bytes in the queue
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True, eq=False)
class _Ask:
    """An input that wants files."""

    id: int
    multiple: bool
    hand: Hand


class Incoming:
    """The uploads of one page. ``controls`` are those of the moment."""

    def __init__(
        self,
        store: Store,
        controls: Callable[[], Controls],
        send: Callable[[m.FromRenderer], None],
        number: Callable[[], int],
        tasks: Tasks,
    ) -> None:
        self._store, self._controls, self._send, self._number, self._tasks = store, controls, send, number, tasks
        self._ask: _Ask | None = None
        self._uploads: dict[int, _Upload] = {}
        self._given: list[Path] = []  # the page may read them for as long as it lives

    def ask(self, hand: Hand, accept: str, *, multiple: bool) -> None:
        """Ask the person for files, in place of an older question."""
        if self._ask is not None:
            self._send(m.FileClosed(self._ask.id, m.TransferCode.CANCELLED))
        self._ask = _Ask(self._number(), multiple, hand)
        self._send(m.FileAsk(self._ask.id, multiple, accept))

    def choose(self, message: m.FileChoice) -> None:
        """Take the answer to a question."""
        ask = self._ask
        if ask is None or ask.id != message.id:
            return
        self._ask = None
        if message.files:
            self._begin(ask.id, message.files if ask.multiple else message.files[:1], ask.hand)

    def drop(self, message: m.FileDrop, hand: Hand) -> None:
        """Take files that were dropped on the page."""
        if message.files and message.id not in self._uploads:
            self._begin(message.id, message.files, hand)

    def take(self, message: m.FileData) -> None:
        """Take a piece. More at once than was agreed ends the upload: nobody honest sends it."""
        upload = self._uploads.get(message.id)
        if upload is None:
            return
        upload.waiting += len(message.data)
        if upload.waiting > FILE_WINDOW:
            self._finish(upload, m.TransferCode.FAILED)
        else:
            upload.pieces.put_nowait(message)

    def cancel(self, number: int) -> bool:
        """Stop an upload, or withdraw a question. False: there is no such one."""
        if self._ask is not None and self._ask.id == number:
            self._ask = None
            self._send(m.FileClosed(number, m.TransferCode.CANCELLED))
            return True
        upload = self._uploads.get(number)
        if upload is not None:
            self._finish(upload, m.TransferCode.CANCELLED)
        return upload is not None

    def detach(self) -> None:
        """Stop everything under way: the viewer that sent it is gone."""
        self._ask = None
        for upload in list(self._uploads.values()):
            self._forget(upload)

    def close(self) -> None:
        """Remove everything: the page is gone."""
        self.detach()
        for path in self._given:
            self._store.drop(path)
        self._given.clear()

    # ------------------------------------------------------------ one upload

    def _begin(self, number: int, files: tuple[m.FileInfo, ...], hand: Hand) -> None:
        upload = _Upload(number, files, hand)
        self._uploads[number] = upload
        controls = self._controls()
        too_large = any(info.size > controls.upload_bytes for info in files) or sum(i.size for i in files) > self._store.free
        if not controls.upload or len(self._uploads) > MAX_UPLOADS:
            self._finish(upload, m.TransferCode.FAILED)
        elif too_large:
            self._finish(upload, m.TransferCode.TOO_LARGE)
        else:
            upload.task = self._tasks.start(self._run(upload))

    async def _run(self, upload: _Upload) -> None:
        code = m.TransferCode.DONE
        try:
            received = 0
            for index, info in enumerate(upload.files):
                received = await self._receive(upload, index, info, received)
            paths, upload.paths = upload.paths, []
            self._given += paths
            await upload.hand([str(path) for path in paths])
        except RefusalError as problem:
            code = problem.code
        except OSError as problem:
            log.warning("upload.failed", extra={"error": problem.strerror})
            code = m.TransferCode.FAILED
        except Exception as problem:
            if not is_gone(problem):
                raise
            code = m.TransferCode.FAILED  # the input, or the whole page, is no longer there
        self._finish(upload, code)

    async def _receive(self, upload: _Upload, index: int, info: m.FileInfo, received: int) -> int:
        """Write one file; return how many bytes of the upload have arrived by then."""
        name = file_name(info.name)
        path = self._store.place(name)
        upload.paths.append(path)
        if not self._store.hold(path, info.size):
            raise RefusalError(m.TransferCode.TOO_LARGE)
        kinds = self._controls().upload_types
        if info.size == 0 and not permitted(name, b"", kinds):
            raise RefusalError(m.TransferCode.WRONG_TYPE)
        descriptor = create(path)
        try:
            offset = 0
            while offset < info.size:
                piece = await upload.pieces.get()
                upload.waiting -= len(piece.data)
                if piece.index != index or piece.offset != offset or offset + len(piece.data) > info.size:
                    raise RefusalError(m.TransferCode.FAILED)
                if offset == 0:
                    if len(piece.data) < min(HEAD, info.size):
                        raise RefusalError(m.TransferCode.FAILED)
                    if not permitted(name, piece.data, kinds):
                        raise RefusalError(m.TransferCode.WRONG_TYPE)
                await asyncio.to_thread(write_all, descriptor, piece.data)
                offset += len(piece.data)
                received += len(piece.data)
                self._send(m.FileProgress(upload.id, received))
        finally:
            os.close(descriptor)
        return received

    def _finish(self, upload: _Upload, code: m.TransferCode) -> None:
        if self._uploads.get(upload.id) is upload:
            self._send(m.FileClosed(upload.id, code))
        self._forget(upload)

    def _forget(self, upload: _Upload) -> None:
        self._uploads.pop(upload.id, None)
        if upload.task is not None and upload.task is not asyncio.current_task():
            upload.task.cancel()
        for path in upload.paths:
            self._store.drop(path)
