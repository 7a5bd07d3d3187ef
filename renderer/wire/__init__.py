"""The contract between viewer, router and renderer node. Pure: bytes in, messages out.

``messages`` is the closed set; ``codec`` turns bytes into messages and back and refuses everything else. The viewer's
JavaScript is held to the same golden vectors (``tests/vectors/wire``).
"""
