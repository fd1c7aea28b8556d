"""The ffmpeg program as a process: find it, start it, wait for it, and report a failure in one line.

In all functions `task` is what an error says was being done, such as "decoding clip.mp4", a `timeout` is in seconds,
and UserError is raised where ffmpeg is not there, fails, or takes too long.
"""

import contextlib
import itertools
import math
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import ffmpeg
import numpy as np

try:
    import imageio_ffmpeg
except ImportError:  # not in requirements-predict.txt, being 165 MB
    imageio_ffmpeg = None

from common.core import messages, stopping
from common.core.errors import UserError
from common.media.ffmpeg_errors import DAMAGED, TURNED, describe_exit, failure

TIMEOUT = 60  # seconds for one frame, which takes 0.1
SEAMED: set[str] = set()
"""Paths of clips that were put together of several, whose seams -xerror would take for damage."""

Stream = Any
"""A stream, an output or a whole graph of ffmpeg-python, which gets its methods at run time."""

_started = weakref.WeakSet()  # the processes that any thread has started
_guards: dict[int, subprocess.Popen] = {}  # {a program, which may have forked: its guard}
_kills = 0  # how often `kill_all` was called


def find_ffmpeg() -> str:
    """Return the path of the ffmpeg program: `$FFMPEG`, else on the PATH, else imageio-ffmpeg's; or raise UserError."""
    wanted = os.environ.get("FFMPEG")
    program = shutil.which(wanted or "ffmpeg")
    if program:
        return os.path.abspath(program)
    if wanted:
        raise UserError(f"FFMPEG={wanted}: no program that can be run; correct or unset the FFMPEG variable")
    with contextlib.suppress(RuntimeError):
        if imageio_ffmpeg:
            return imageio_ffmpeg.get_ffmpeg_exe()
    raise UserError(
        "no ffmpeg: not in $FFMPEG, not on the PATH, not in Python's packages; `pip install imageio-ffmpeg` brings one"
    )


def start(graph: Stream, **pipes: Any) -> subprocess.Popen:
    """Start ffmpeg on an ffmpeg-python graph.  pipes: `stdin` (by default empty), `stdout` and `stderr` of Popen."""
    binary = find_ffmpeg()
    # Levels in the log tell errors from remarks, `repeat` keeps equal lines, -xerror makes damaged input an error.
    flags = ["-nostdin", "-hide_banner", "-nostats", "-y", "-loglevel", "repeat+level+info"]
    command = graph.compile([binary, *flags])
    command[1:1] = [] if SEAMED.intersection(command) else ["-xerror"]
    messages.detail(shlex.join(map(str, command)))
    with stopping.starting():
        try:
            process = subprocess.Popen(command, **_apart(), **{"stdin": subprocess.DEVNULL, **pipes})
        except OSError as error:
            problem = f"{binary} cannot be run ({error.strerror})"
            raise UserError(f"{problem}; point $FFMPEG to an FFmpeg, or unset it") from None
        _started.add(process)
    return process


def _apart() -> dict[str, Any]:
    """Return settings of Popen that put ffmpeg into a group of processes of its own, which ends with this program.

    Ctrl-C does not reach it: this program decides what is finished and what is killed.  Where this program is killed, a
    guard kills the group, a shell that waits for the end of a pipe which nobody else holds.
    """
    alone = {"start_new_session": True}
    if os.name != "posix":
        return alone
    guard = _guards.get(os.getpid())
    if not guard or guard.poll() is not None:
        settings = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
        try:
            guard = subprocess.Popen(["/bin/sh", "-c", "read line; kill -9 0"], process_group=0, **settings)
        except OSError:  # a system without a shell
            return alone
        _guards[os.getpid()] = guard
    return {"process_group": guard.pid}


def _dismiss_guard() -> None:
    """End the guard, once nothing is left for it to do."""
    if guard := _guards.pop(os.getpid(), None):
        guard.kill()
        guard.wait()


def kill_all() -> None:
    """Kill every running ffmpeg that this program has started; whoever waits for one gets a UserError."""
    global _kills
    with stopping.lock:
        _kills += 1
        for process in _started:
            process.kill()


stopping.hooks += [kill_all, _dismiss_guard]


def watch_kills() -> Callable[[], None]:
    """Return a function that raises UserError once `kill_all` has been called after this."""
    before = _kills

    def check() -> None:
        if _kills > before:
            raise UserError("stopped")

    return check


def run(
    graph: Stream, task: str, data: bytes | None = None, timeout: float = TIMEOUT, target: Path | None = None
) -> tuple[bytes, str]:
    """Run a graph to its end, with `data` as standard input; return its standard output and its log.

    Where `target`, a file, is not there afterwards, that is an error too.
    """
    pipe, problem = subprocess.PIPE, ""
    with start(graph, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL if data is None else pipe) as process:
        try:
            out, log = process.communicate(data, timeout)
        except subprocess.TimeoutExpired as late:
            out, log, problem = b"", late.stderr or b"", f"did not end within {timeout} s"
        finally:
            process.kill()
    if process.returncode and not problem:
        problem = describe_exit(process.returncode)
    elif target and not (target.exists() and target.stat().st_size):
        problem = problem or "ended well but wrote nothing; is it an FFmpeg?"
    log = log.decode(errors="replace")
    if problem:
        raise failure(task, problem, log, find_ffmpeg())
    return out, log


def rgb_frames(
    stream: Stream, task: str, timeout: float = TIMEOUT, outputs: list[Stream] | None = None
) -> Iterator[tuple[np.ndarray, str]]:
    """Yield each frame of an RGB stream, uint8 (H, W, 3), with the lines that ffmpeg has logged since the last one.

    One frame is in memory at a time; the timeout is for one.  No frame at all, or a file cut short, is an error.

    outputs: What the same run of ffmpeg writes too.
    """
    # PPM states the size of each frame, so that rotated clips, and clips that change their size, need no probe.
    graph = stream.output("pipe:", format="image2pipe", vcodec="ppm", fps_mode="passthrough")
    graph = ffmpeg.merge_outputs(graph, *outputs) if outputs else graph
    return itertools.takewhile(lambda item: item[0] is not None, _frames(graph, _read_ppm, task, timeout))


def raw_frames(stream: Stream, size: int, task: str, timeout: float) -> Iterator[bytes]:
    """Yield each frame of a stream as `size` bytes of raw video; otherwise as `rgb_frames`."""
    graph = stream.output("pipe:", format="rawvideo", fps_mode="passthrough")
    for frame, _ in _frames(graph, lambda file: file.read(size) or None, task, timeout):
        if frame is None:
            return
        if len(frame) < size:
            raise UserError(f"{task}: {len(frame)} bytes of a frame instead of {size}; is {find_ffmpeg()} FFmpeg?")
        yield frame


def output_lines(graph: Stream, task: str, timeout: float) -> Iterator[tuple[bytes | None, str]]:
    """Yield each line of a graph's standard output, in the end None, with what was logged since the last one."""
    return _frames(graph, lambda file: file.readline() or None, task, timeout)


def _frames(graph: Stream, read: Callable[[IO[bytes]], Any], task: str, timeout: float) -> Iterator[tuple[Any, str]]:
    """Yield what `read(standard output)` returns, last None, each with the new lines of the log."""
    count = 0
    with tempfile.NamedTemporaryFile() as file, open(file.name, errors="replace") as log:
        process, said, part = start(graph, stdout=subprocess.PIPE, stderr=file), [], ""
        assert process.stdout
        watchdog = _Watchdog(process, timeout)
        try:
            while True:
                with watchdog:
                    frame = read(process.stdout)
                    code = process.wait() if frame is None else 0
                lines, end, part = (part + log.read()).rpartition("\n")  # the last line may be incomplete
                lines += end + (part if frame is None else "")
                said += [line for line in lines.splitlines() if "[Eval @" not in line]  # of which each frame has some
                turned = TURNED in lines
                if frame is None or turned:
                    break
                yield frame, lines
                count += 1
            if turned:
                problem = "turned its frames"
            elif watchdog.overdue:
                problem = f"gave no frame for {timeout} s"
            elif code:
                problem = describe_exit(code)
            elif not count:
                said.append("\n[error] it shows no frame; expected a clip")
                problem = "found no frame in it"
            else:
                problem = "found damage in it" if re.search(DAMAGED, "\n".join(said)) else None
            if problem:
                raise failure(task, problem, "\n".join(said), find_ffmpeg())
            yield None, lines
        finally:  # also when the reader stops early
            watchdog.ended.set()
            process.kill()
            process.wait()
            process.stdout.close()


class _Watchdog:
    """Kills a process where a `with` block of this takes longer than `timeout` seconds: it is `overdue` then.

    One thread serves all blocks.  To start one for each took longer than reading a small frame.
    """

    def __init__(self, process: subprocess.Popen, timeout: float):
        self.process, self.timeout, self.overdue = process, timeout, False
        self.started, self.ended = math.inf, threading.Event()
        # A program that is interrupted must not wait for it.
        threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self) -> None:
        self.started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.started = math.inf

    def _watch(self) -> None:
        while not self.ended.wait(self.timeout / 10):
            if time.monotonic() - self.started > self.timeout:
                self.overdue = True
                self.process.kill()
                return


def _read_ppm(file: IO[bytes]) -> np.ndarray | None:
    """Read the next P6 image, uint8 (H, W, 3); None where no whole one is left."""
    magic, size, highest = (file.readline() for _ in range(3))
    if (magic, highest) != (b"P6\n", b"255\n"):
        return None
    width, height = map(int, size.split())
    data = file.read(width * height * 3)
    return np.frombuffer(data, np.uint8).reshape(height, width, 3) if len(data) == width * height * 3 else None
