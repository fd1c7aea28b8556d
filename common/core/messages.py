"""What a program says besides its results and errors: nothing with --quiet, more with --verbose."""

import os
import sys
import time
from typing import TextIO

QUIET, NORMAL, VERBOSE = -1, 0, 1
VARIABLE = "JND_MESSAGES"  # by which a program gives its level to those that it starts

inherited = {"-1": QUIET, "1": VERBOSE}.get(os.environ.pop(VARIABLE, ""), NORMAL)
level = inherited
"""How much this program says; the command line sets it."""

_started = time.monotonic()


def note(text: str, file: TextIO | None = None) -> None:
    """Print how the work goes on, unless the program is quiet.  file: By default standard output."""
    if level > QUIET:
        print(text, file=file, flush=True)


def warn(text: str) -> None:
    """Print to stderr what a person may want to mend, unless the program is quiet."""
    note(text, sys.stderr)


def detail(text: str) -> None:
    """Print to stderr what helps to find a fault, with the seconds since the start, if the program is verbose."""
    if level >= VERBOSE:
        print(f"[{time.monotonic() - _started:.1f} s] {text}", file=sys.stderr, flush=True)
