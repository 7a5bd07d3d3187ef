"""The browser-isolation router: decisions, data plane, pages, and the relay to isolated browsers.

Imports point downwards only (checked by import-linter)::

    cli → wiring → settings → web → proxy | broker | egress → store → identity | signals
        → routing → audit → policy → clock | errors | limits | tokens

``policy`` and ``routing`` are pure: no I/O, no clock, no randomness, no logging.
"""
