"""The composition root: settings → adapters → services → ASGI application, and their end in reverse order."""
