"""The hostile side: runs Chromium for isolated people, and knows nothing of the router.

``renderer`` imports nothing of ``isolation``; the router imports only ``renderer.wire``, the shared contract.
"""
