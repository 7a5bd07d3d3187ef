"""What happened: a closed set of events (``events``). They are written by ``isolation.store.audit``.

No event has a place for a token, a cookie, a query string or a body.
"""
