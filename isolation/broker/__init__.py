"""Isolated sessions, seen from the router: leases of a Chromium, the nodes that run them, and the relay that joins a viewer to one.

Everything a renderer node says is treated as a lie until :mod:`isolation.broker.gatekeeper` has checked it.
"""
