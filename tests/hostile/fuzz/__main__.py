"""``python -m tests.hostile.fuzz WAY [--seconds N] [--corpus DIR]``: let libFuzzer look for an input for which something does not hold.

Needs the extra ``fuzz`` (atheris). An input that breaks an invariant is written to the corpus directory, and the exit status is not 0.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["renderer", "isolation"]):
    import isolation.broker.cleaning
    import isolation.broker.gatekeeper  # noqa: F401
    import renderer.wire.codec
    import renderer.wire.control_codec  # noqa: F401

from tests.hostile.fuzz.seeds import seeds, words
from tests.hostile.fuzz.ways import WAYS

# --- limits
MAX_INPUT = 16_384  # bytes: every length that the contract bounds lower, and several messages
INPUT_SECONDS = 10  # an input that takes longer is a finding: it would stall a router
MEMORY_MB = 1024  # an input that takes more is a finding: it would exhaust a router


def main() -> None:
    """Fuzz one way. Does not return: libFuzzer ends the process."""
    options = argparse.ArgumentParser(prog="python -m tests.hostile.fuzz", description=__doc__)
    options.add_argument("way", choices=WAYS)
    options.add_argument("--seconds", type=int, default=600)
    options.add_argument("--corpus", type=Path)
    given = options.parse_args()
    corpus = given.corpus or Path(tempfile.mkdtemp(prefix="isolation-fuzz-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds(given.way):
        (corpus / hashlib.sha256(seed).hexdigest()[:20]).write_bytes(seed)
    dictionary = corpus.with_suffix(".words")
    dictionary.write_text("".join(f'"{word}"\n' for word in words()), encoding="utf-8")
    arguments = [
        f"-max_total_time={given.seconds}",
        f"-max_len={MAX_INPUT}",
        f"-timeout={INPUT_SECONDS}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-dict={dictionary}",
        f"-artifact_prefix={corpus}{os.sep}finding-",
        "-print_final_stats=1",
        "-verbosity=1",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *arguments], WAYS[given.way])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
