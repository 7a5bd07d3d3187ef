"""Hypothesis: every run explores anew at a desk; CI tries the same examples each time, so that a red run is about the change."""

import os
import resource

from hypothesis import settings

# Tests hold both ends of hundreds of connections in one process, and shells begin with 1024 open files.
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("desk", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")
