"""The ffmpeg program as a process: found, started, waited for, and its failures put into one line for a person."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import weakref

import ffmpeg
import numpy as np

from common.core.errors import UserError

TIMEOUT = 60  # seconds for one picture, which takes 0.1

# What ffmpeg still says after the line that tells the reason.
ECHO = r"Conversion failed|Task finished|Terminating thread|Error opening (in|out)put file|Nothing was written"

_started, _lock = weakref.WeakSet(), threading.Lock()  # processes, of any thread

CUT_SHORT = "File ended prematurely"  # of Matroska; the one damage that -xerror lets pass


def find_ffmpeg():
    """The ffmpeg program's path: `$FFMPEG`, else the PATH's, else imageio-ffmpeg's.  UserError where there is none."""
    wanted = os.environ.get("FFMPEG")
    if wanted:
        found = shutil.which(wanted)
        if not found:
            raise UserError(f"FFMPEG={wanted}: no program that can be run; correct or unset the FFMPEG variable")
        return os.path.abspath(found)
    found = shutil.which("ffmpeg")
    if found:
        return os.path.abspath(found)
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise UserError(
            "no ffmpeg: not in $FFMPEG, not on the PATH, not in Python's packages; "
            "`pip install imageio-ffmpeg` brings one"
        ) from None


def start(graph, **pipes):
    """Start ffmpeg on an ffmpeg-python graph: a Popen.  pipes: its `stdin` (else none), `stdout`, `stderr`."""
    binary = find_ffmpeg()
    # Levels in the log tell errors from chatter, and lines that repeat are all there; -xerror makes damaged input an
    # error.  A session of its own keeps Ctrl-C from ffmpeg: who started it decides what is finished and what is killed.
    flags = ["-nostdin", "-hide_banner", "-nostats", "-xerror", "-y", "-loglevel", "repeat+level+info"]
    command = graph.compile([binary, *flags])
    try:
        process = subprocess.Popen(command, start_new_session=True, **{"stdin": subprocess.DEVNULL, **pipes})
        with _lock:
            _started.add(process)
        return process
    except OSError as error:
        raise UserError(f"{binary} cannot be run ({error.strerror}); point $FFMPEG to an FFmpeg, or unset it") from None


def kill_all():
    """End every ffmpeg that this program has started and that still runs; who waits for one gets a UserError."""
    with _lock:
        for process in _started:
            process.kill()


def run(graph, doing, data=None, timeout=TIMEOUT, target=None):
    """Run a graph to its end with `data` as standard input: (standard output as bytes, log as text), or a UserError.

    doing: what an error says was being done.  target: the file that must be there afterwards.
    """
    pipe = subprocess.PIPE
    with start(graph, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL if data is None else pipe) as process:
        try:
            out, log = process.communicate(data, timeout)
        except subprocess.TimeoutExpired as late:
            process.kill()
            words = (late.stderr or b"").decode(errors="replace")
            raise failure(doing, process.args[0], f"did not end within {timeout} s", words) from None
        except BaseException:
            process.kill()
            raise
    log = log.decode(errors="replace")
    if process.returncode:
        raise failure(doing, process.args[0], ending(process.returncode), log)
    if target and not (target.exists() and target.stat().st_size):
        raise failure(doing, process.args[0], "ended well but wrote nothing; is it an FFmpeg?", log)
    return out, log


def pictures(stream, doing, timeout=TIMEOUT, outputs=()):
    """The frames of an RGB stream of an ffmpeg-python graph as they come, uint8 (H, W, 3), each with the lines of the
    log, as text, that were written since the one before.

    outputs: what the same run of ffmpeg writes besides.  One frame is in memory at a time.  Raises UserError for a
    frame, or an end, that takes longer than `timeout` seconds, for failure, and where no frame comes at all.
    """
    # PPM carries each frame's size: no probe, and right for rotated clips and for those that change size.
    graph = stream.output("pipe:", format="image2pipe", vcodec="ppm", fps_mode="passthrough")
    return _read(ffmpeg.merge_outputs(graph, *outputs) if outputs else graph, _read_ppm, doing, timeout)


def raw_frames(stream, size, doing, timeout=TIMEOUT):
    """Yield the frames of a stream as they come, each as `size` bytes of raw video; errors as `pictures`."""
    graph = stream.output("pipe:", format="rawvideo", fps_mode="passthrough")
    for frame, _ in _read(graph, lambda file: file.read(size) or None, doing, timeout):
        if len(frame) < size:
            raise UserError(f"{doing}: {len(frame)} bytes of a frame instead of {size}; is {find_ffmpeg()} FFmpeg?")
        yield frame


def _read(graph, read, doing, timeout):
    """Yield what `read(standard output)` finds until it is None, each with the log's new lines."""
    count = 0
    with tempfile.NamedTemporaryFile() as file, open(file.name, errors="replace") as log:
        process, words, line = start(graph, stdout=subprocess.PIPE, stderr=file), [], ""
        overdue = threading.Event()
        try:
            while True:
                with _watched(process, timeout, overdue):
                    frame = read(process.stdout)
                    code = process.wait() if frame is None else 0
                lines, end, line = (line + log.read()).rpartition("\n")  # the last may be half written
                words.append(lines + end)
                if frame is None:
                    words.append(line)
                    break
                yield frame, words[-1]
                count += 1
            if overdue.is_set():
                how = f"gave no frame for {timeout} s"
            elif code or not count:
                how = ending(code) if code else "found no picture in it"
            else:
                how = "found it cut short" if CUT_SHORT in "".join(words) else None
            if how:
                raise failure(doing, process.args[0], how, "".join(words))
        finally:  # also when the reader stops early
            process.kill()
            process.wait()
            process.stdout.close()


@contextlib.contextmanager
def feed(graph, doing, timeout=TIMEOUT):
    """Run a graph that reads its standard input: the block gets `write`, which passes bytes on, as many as it likes.

    The graph has ended well when the block has.  Raises UserError for failure, and for a write, or an end, that takes
    longer than `timeout` seconds.  When the block fails, ffmpeg is killed.
    """
    overdue = threading.Event()
    with tempfile.NamedTemporaryFile() as log:
        process = start(graph, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)

        def step(work):
            try:
                with _watched(process, timeout, overdue):
                    work()
            except BrokenPipeError:  # it has ended early, and its log says why
                process.wait()
            else:
                return
            how = f"took nothing for {timeout} s" if overdue.is_set() else ending(process.returncode or 1)
            with open(log.name, errors="replace") as words:
                raise failure(doing, process.args[0], how, words.read())

        def end():
            process.stdin.close()
            if process.wait():
                raise BrokenPipeError

        try:
            yield lambda data: step(lambda: process.stdin.write(data))
            step(end)
        finally:
            process.kill()
            process.wait()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


@contextlib.contextmanager
def _watched(process, timeout, overdue):
    """Kill the process, and set `overdue`, where the block takes longer than `timeout` seconds."""
    watchdog = threading.Timer(timeout, lambda: (overdue.set(), process.kill()))
    watchdog.daemon = True  # a program that was interrupted just here must not wait for it
    try:
        watchdog.start()
        yield
    finally:
        watchdog.cancel()


def _read_ppm(file):
    """The next P6 picture, uint8 (H, W, 3), or None where there is no whole one."""
    if file.readline() != b"P6\n":
        return None
    width, height = map(int, file.readline().split())
    file.readline()  # 255
    data = file.read(width * height * 3)
    return np.frombuffer(data, np.uint8).reshape(height, width, 3) if len(data) == width * height * 3 else None


def ending(code):
    """What an exit status says: "failed (exit code 1)", "was killed by SIGKILL"."""
    if code > 0:
        return f"failed (exit code {code})"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def failure(doing, binary, how, log):
    """The UserError for an ffmpeg that went wrong, with its own last words and what to do."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\[(error|fatal)\]", line)] or lines[-1:]
    words = [re.sub(r"\[[^\]]* @ \w+\] |\[\w+\] ", "", line).strip(" .") for line in errors]
    words = list(dict.fromkeys(word for word in words if not re.match(ECHO, word)))[-2:] or words[-1:]
    said = f'; its last words: "{" / ".join(words)[-400:]}"' if words else "; it said nothing"
    lacking = re.search(r"(?:encoder|filter)\W+lib(x264|x265|svtav1|vmaf)\b", log)
    if lacking:
        advice = f"that FFmpeg is built without lib{lacking[1]}, imageio-ffmpeg's has it: point $FFMPEG there"
    elif re.search(r"Unrecognized option|Option not found", log):
        advice = "FFmpeg 5.1 or newer is needed, imageio-ffmpeg's is: point $FFMPEG there"
    elif "matches no streams" in log:
        return UserError(f"{doing}: it has no pictures; expected a clip")
    elif "No space left on device" in log:
        advice = "the disk is full: make room, or give another folder"
    elif "SIGKILL" in how:
        advice = "is memory short? Try again, or point $FFMPEG to another FFmpeg"
    else:
        advice = "check the file, or point $FFMPEG to another FFmpeg"
    return UserError(f"{doing}: {binary} {how}{said}; {advice}")
