"""Hypothesis: every run explores anew at a desk; CI tries the same examples each time, so that a red run is about the change."""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("desk", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")
