"""Structured logs: one JSON object a line on standard error, with time, level, process and event name.

No token, no cookie and no query string is ever given to a logger; as a second line of defence, values of keys that could carry
one are replaced here.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import structlog

_NEVER = frozenset(
    {"authorization", "cookie", "set_cookie", "token", "secret", "password", "code", "ticket", "query", "client_secret"}
)


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in event.keys() & _NEVER:
        # An error *code* is a short word of ours; anything longer under that name is not.
        if key != "code" or not (isinstance(event[key], (str, int)) and len(str(event[key])) <= 40):
            event[key] = "[removed]"
    return event


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    structlog.get_logger().critical("process.crashed", error=kind.__name__, exc_info=(kind, error, trace))


def _thread_crashed(args: threading.ExceptHookArgs) -> None:
    error = args.exc_value
    structlog.get_logger().critical(
        "thread.crashed",
        error=args.exc_type.__name__,
        thread=args.thread.name if args.thread is not None else "",
        exc_info=(args.exc_type, error, args.exc_traceback) if error is not None else None,
    )


def for_a_command() -> None:
    """Let what goes wrong during a command be seen on standard error, and nothing else: standard output holds the answer alone."""
    structlog.configure(
        processors=[structlog.processors.add_log_level, _redact, structlog.dev.ConsoleRenderer(colors=False)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def configure(process: str, *, level: str = "info", style: str = "json") -> None:
    """Send every log line of this process, the libraries' included, to standard error. ``process`` names it in each line."""

    def _process(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("process", process)
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _process,
        _redact,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=True)  # control characters and ANSI sequences arrive escaped
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        # One write a line: several processes share the descriptor, and print() would write the line's end by itself.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    # What nobody caught is a line like any other: whoever reads these logs reads JSON.
    logging.captureWarnings(True)
    sys.excepthook = _crashed
    threading.excepthook = _thread_crashed
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for noisy in ("httpx", "httpcore", "alembic", "asyncio", "uvicorn.access", "azure"):
        logging.getLogger(noisy).setLevel(max(number, logging.WARNING))
