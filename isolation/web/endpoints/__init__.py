"""Own URLs, below ``/.isolation/`` on every host."""
