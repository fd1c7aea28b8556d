"""Run a command in a forked process, with limits, and say what is wrong with its end.

TensorFlow takes six seconds to start.  So this process has imported what the commands need, and forks: the child calls
the command's `main()` through `common.cli.program.run`, which is all that its program does, too.  Nothing of TensorFlow
has run in the parent but its import, so that a fork is safe.
"""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import h5py
import imageio_ffmpeg
import numpy as np
from PIL import Image

from common.cli import program

MEMORY, FILE, SECONDS = 4 << 30, 64 << 20, 60  # limits: bytes on top of what the parent has mapped; bytes; seconds
NOTES = ("error: ", "warning: ", "left out: ", "  ")  # how lines on stderr start; blanks: more faults of one file
AGAIN = ": done again"  # how a line ends on a file that has changed since its row was written
LONGEST = 1500  # characters of a line


class End(NamedTuple):
    """How a command ended."""

    code: int  # negative: the signal that killed it; -SIGALRM is ours, for one that takes too long
    out: str
    err: str

    def count(self, start: str) -> int:
        """Return how many lines start so."""
        return sum(line.startswith(start) for line in (self.out + self.err).splitlines())


def start(main: Callable[[], int], folder: Path, limits: bool = True, stdout: int | None = None) -> int:
    """Start `main` in a child, in a process group of its own, and return its number; `folder` gets its output.

    Signals wait until the program is there, which is when its `main` is called.
    """
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    stops = signal.SIGINT, signal.SIGTERM
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    if child := os.fork():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stops)
        return child

    def unblocked() -> int:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stops)
        return main()

    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, name in enumerate((os.devnull, folder / "stdout", folder / "stderr")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), number)
        if stdout is not None:
            os.dup2(stdout, 1)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))
        (folder / "tmp").mkdir(exist_ok=True)
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
        if limits:
            resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
            resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        program.run(unblocked)
    except BaseException as error:
        sys.stdout.flush()
        sys.stderr.flush()
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        os._exit(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)
    raise AssertionError  # `run` ends the process


def wait(child: int, folder: Path, seconds: float = SECONDS) -> End:
    """Wait for a child of `start`, and kill what takes longer."""
    deadline, code = time.monotonic() + seconds, None
    while code is None:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
        elif time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            code = -signal.SIGALRM
        else:
            time.sleep(0.005)
    out, err = ((folder / name).read_text(errors="surrogateescape") for name in ("stdout", "stderr"))
    return End(code, out, err)


def faults(end: End, folder: Path, before: set[Path]) -> list[str]:
    """Return what is wrong with the end of a command that ran in `folder`, where `before` were the files."""
    lines = [line for line in end.err.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    found = [line for line in end.out.splitlines() if line.startswith("APART")]
    if end.code not in (0, 1, 2):
        found.append(f"exit code {end.code}")
    if "Traceback" in end.err + end.out:
        found.append(f"traceback: {lines[-1]}")
    else:
        noise = [line for line in lines if not line.startswith(NOTES) and not line.endswith(AGAIN)]
        found += [f"noise: {line[:200]}" for line in noise[:1]]
        found += [f"{len(errors)} lines of errors" for _ in [0] if end.code == 2 and len(errors) != 1]
        found += [f"a line of {len(line)} characters: {line[:200]}" for line in lines if len(line) > LONGEST][:1]
        found += [f"not printable: {line!r:.200}" for line in errors if not line.isprintable()][:1]
    new = files_in(folder) - before
    found += [f"left behind: {path}" for path in leftovers(folder, end.err, before)]
    half = [path for path in sorted(new) if not is_whole(folder / path)]
    return found + [f"{path}: not whole" for path in half if f"{path.name}: not an HDF5 file" not in end.out]


def files_in(folder: Path) -> set[Path]:
    """Return the files in a folder, without the runner's own."""
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {path for path in found if path.parts[0] not in ("stdout", "stderr")}


def leftovers(folder: Path, said: str = "", before: Collection[Path] = ()) -> list[str]:
    """Return temporary files, locks and processes that are left; not those of `before`, nor what the program named."""
    paths = sorted({path.relative_to(folder) for path in folder.rglob("*")}.difference(before))
    found = [str(path) for path in paths if path.name.startswith((".part-", ".lock")) and path.name not in said]
    found += [str(path) for path in paths if path.parts[0] == "tmp" and len(path.parts) > 1]
    return found + [f"process {number}" for number in processes(folder)]


def processes(folder: Path) -> list[int]:
    """Return the processes that have this folder among their variables, as all have that a child starts."""
    mark, found = f"TMPDIR={folder / 'tmp'}\0".encode(), []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environ.read_bytes():
                found.append(int(environ.parent.name))
        except OSError:
            pass
    return found


def is_whole(path: Path) -> bool:
    """Return whether a file can be read to its end, by its suffix."""
    try:
        if path.suffix == ".csv":
            with open(path, newline="", errors="surrogateescape") as file:
                return len({len(row) for row in csv.reader(file, delimiter=";" if "logs" in path.name else ",")}) == 1
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".h5":
            with h5py.File(path) as file:
                file.visititems(lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None)
        elif path.suffix in (".png", ".avif", ".jpg"):
            with Image.open(path) as image:
                image.load()
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                for name in file.files:
                    file[name]
        elif path.suffix in (".mp4", ".mkv", ".264"):
            command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-f", "null", "-"]
            done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
            return not done.returncode and not done.stderr
        return True
    except Exception:
        return False
