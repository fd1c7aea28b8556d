"""What a process gets from its machine and its user, mended or hidden, so that it works the same everywhere.

Streams, the home folder, matplotlib's backend and Keras's files and variables; what Keras is then set to stands in
`keras_backend`.
"""

import atexit
import contextlib
import functools
import importlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

LIMITS = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH")
"""Variables by which Keras cuts trainings short without a word."""


def settle() -> None:
    """Mend the streams and the home folder of this process; a second call changes nothing."""
    _open_streams()
    _settle_home()


def settle_program() -> None:
    """Do what `settle` does, and what only a program may do, not a library in somebody's notebook."""
    settle()
    os.environ["MPLBACKEND"] = "agg"  # nothing is shown; a backend that is not there would end the program
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        raw = getattr(buffer, "raw", buffer)  # with PYTHONUNBUFFERED there is no buffer
        if type(raw) is io.FileIO and raw.fileno() in (1, 2):  # not a notebook's
            stream.flush()
            own = _Stream(raw.fileno(), "w", closefd=False)
            own = own if raw is buffer else io.BufferedWriter(own)
            settings = {key: getattr(stream, key) for key in ("encoding", "line_buffering", "write_through")}
            # A file's name must not end a program.
            setattr(sys, name, io.TextIOWrapper(own, errors="backslashreplace", **settings))


def _open_streams() -> None:
    """Open closed standard streams on nothing.  Else the next file would get the number of one, and its text."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))


@functools.cache
def _settle_home() -> str | None:
    """Give libraries a temporary folder where there is no home folder, or none to write to, as in containers."""
    home = os.path.expanduser("~")
    if os.access(home, os.W_OK) and home != "~":
        return None
    folder = tempfile.mkdtemp(prefix="jnd-home-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.setdefault("MPLCONFIGDIR", folder)
    if home == "~":  # else what is there can still be read
        os.environ["HOME"] = folder
    return folder


def remove_home() -> None:
    """Remove the temporary home folder, if there is one: a program of ours ends without atexit."""
    if folder := _settle_home():
        shutil.rmtree(folder, ignore_errors=True)


class _Stream(io.FileIO):
    """A standard stream whose faults name it; if patient, it goes on when its reader has gone, as `head` does."""

    patient = False

    def write(self, data) -> int:
        try:
            return super().write(data)
        except OSError as error:
            name = "standard output" if self.fileno() == 1 else "standard error"
            if not (self.patient and isinstance(error, BrokenPipeError)):
                raise OSError(error.errno, error.strerror, name) from None
            with open(os.devnull, "wb") as nothing:  # which libraries that write to the number get, too
                os.dup2(nothing.fileno(), self.fileno())
            if self.fileno() == 1:
                print(f"warning: {name}: its reader has gone; goes on without it", file=sys.stderr)
            return len(data)


def outlive_readers() -> None:
    """Let the process go on when nobody reads its output any more; for work whose results are files."""
    _Stream.patient = True


def keras_home() -> Path:
    """Return the folder where Keras keeps downloaded weights: $KERAS_HOME, or .keras in the home folder."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser()


def import_matplotlib() -> None:
    """Import matplotlib, and let it have the backend that $MPLBACKEND names, if there is such a one."""
    if "matplotlib" not in sys.modules:
        with _without_variables("MPLBACKEND"):
            matplotlib = importlib.import_module("matplotlib")
        if backend := os.environ.get("MPLBACKEND"):
            with contextlib.suppress(ValueError):
                matplotlib.rcParams["backend"] = backend


@contextlib.contextmanager
def hidden_keras_json() -> Iterator[None]:
    """Let `import keras` in the block find no keras.json, write none, and see no LIMITS."""
    with _without_variables("KERAS_HOME", *LIMITS):
        os.environ["KERAS_HOME"] = os.devnull  # a file: nothing is in it and nothing gets into it
        yield


@contextlib.contextmanager
def _without_variables(*names: str) -> Iterator[None]:
    before = {name: os.environ.pop(name, None) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
