"""The only way out of an isolated Chromium: app hosts into the same data plane, public hosts by rule, everything else refused."""
