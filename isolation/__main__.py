"""``python -m isolation``."""

from isolation.cli.main import main

main()
