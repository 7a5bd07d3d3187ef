"""Sessions: their shape (``model``) and the connections that rest on them (``live``). They are kept by ``isolation.store.sessions``."""
