"""The data plane: requests of people (and of their isolated browsers) to the apps, and the answers back.

Byte for byte where HTTP lets it: the target is the one that was decided on, bodies are never decoded or held back, and what a client
may not say about itself (identity, address, scheme) is removed before what the router knows is added.

``headers`` and the framing in it are pure. ``exchange`` names what the data plane needs of the listening side (``web.ingress`` gives it).
"""
