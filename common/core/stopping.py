"""How a program is stopped, by Ctrl-C, SIGTERM or a closed terminal: what is removed, and what is said.

The signal becomes an exception in the main thread, so that whoever works there saves what it has.  Threads that compute
are not waited for.  What they are writing is known here and removed.  A second signal, or GRACE seconds, end the
program at once.  After a kill, the next program removes what was left in the folder of temporary files; what lies
beside an output has a name (`common.core.names.PART`) that the next run replaces.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from common import PARENT

if sys.platform != "win32":
    import fcntl

GRACE = 3  # seconds
APART = 0.5  # seconds between two signals; sooner they are one, which came to all processes and from the parent
SIGNALS = {"SIGINT": "interrupted", "SIGTERM": "stopped by SIGTERM", "SIGHUP": "stopped, its terminal was closed"}
FOLDER = "jnd-program-"  # how the names of folders of temporary files start

lock = threading.RLock()
"""Held while a file or a process is begun, so that none begins after the program has started to end."""

hooks: list[Callable[[], object]] = []
"""Called when the program ends, to end the processes that it has started."""

kept: dict[object, str] = {}
"""{whose: what is kept where the program ends early, and how to go on}, for messages."""

_scratch: set[Path] = set()
_state: dict = {"signal": None, "time": 0.0, "folder": None, "starter": None, "parent": None}


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Hold `lock` while the block starts a process and makes it known to `hooks`; a signal waits until it has."""
    with lock:
        _state["starter"] = threading.current_thread()
        try:
            yield
        finally:
            _state["starter"] = None


@contextlib.contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Give the block a path for a file or a folder that is removed when the block, or the program, ends."""
    with lock:
        _scratch.add(path)
    try:
        yield path
    finally:
        discard(path)
        _scratch.discard(path)


def discard(path: Path) -> None:
    """Remove a file or a folder, if it is there and can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):  # Windows removes no open file, such as that of a lock
            path.unlink()


@contextlib.contextmanager
def keeping(text: str) -> Iterator[None]:
    """Have `text` said where the program is stopped, or runs out of room, in the block: what is kept, how to go on."""
    key = object()
    kept[key] = text
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError):
            del kept[key]
        raise
    del kept[key]


def begin() -> None:
    """Let signals stop this program as described above, and give it a folder of temporary files of its own."""
    for name in SIGNALS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        # A shell lets what it starts in the background ignore some; that stays so.
        if number and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)
    if hasattr(signal, "SIGCHLD"):  # whoever starts programs and ignores it hands that on: each would seem to end well
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=[reading], daemon=True).start()
    sys.unraisablehook = _swallowed
    _state["parent"] = parent = os.environ.pop(PARENT, None)  # not inherited by what this one starts
    if parent and parent.isdecimal() and sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG: not to outlive a killed parent
        if os.getppid() != int(parent):
            os._exit(143)
    if os.name == "posix":
        with contextlib.suppress(OSError):  # then the system's folder serves, or its fault is said when it is needed
            _state["folder"] = tempfile.tempdir = _make_folder()


def _make_folder() -> str:
    """Make a folder of temporary files and lock it; remove those of programs that were killed."""
    common = Path(tempfile.gettempdir())
    for path in common.glob(f"{FOLDER}*"):
        with contextlib.suppress(OSError):
            if path.lstat().st_uid == os.getuid() and (handle := _lock_folder(path)) is not None:
                shutil.rmtree(path, ignore_errors=True)  # locked, so that nobody takes it who has just made it
                os.close(handle)
    while True:
        folder = tempfile.mkdtemp(prefix=FOLDER, dir=common)
        try:
            if _lock_folder(folder) is not None and os.path.isdir(folder):  # locked until this process ends
                return folder
        except FileNotFoundError:  # another program has just taken it for that of a killed one
            continue
        except OSError:  # a file system without locks, where nothing is removed
            return folder


def _lock_folder(folder: str | Path) -> int | None:
    """Return a descriptor that locks a folder until it is closed; None where another process holds the lock."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not by filelock, for which each `--help` would wait
        return handle
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            return None
        raise


def _stop(number: int, frame: object) -> None:
    """Handle a signal."""
    if _state["starter"] is threading.main_thread():
        return  # `_watch` sends it again
    if _state["signal"]:
        if time.monotonic() > _state["time"] + APART:
            end(128 + number)
        return
    _state.update(signal=signal.Signals(number), time=time.monotonic())
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def _swallowed(unraisable: Any) -> None:
    """Report an exception that Python cannot raise: in a destructor or a weakref's callback.

    Where it is a signal's, the signal comes again, from `_watch`; others after a signal follow from it.  That is not
    rare: the first that handles a signal which came during a garbage collection is a callback that this runs.
    """
    if not _state["signal"]:
        sys.__unraisablehook__(unraisable)
    elif issubclass(unraisable.exc_type, KeyboardInterrupt | SystemExit):
        _state["signal"] = None


def _watch(signals: int) -> None:
    """Wait for the first signal; end the program where the main thread has not done so in time.

    signals: The descriptor from which Python gives the numbers of signals as they come.
    """
    while (number := os.read(signals, 1)[0]) not in [getattr(signal, name, None) for name in SIGNALS]:
        pass
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline:
        time.sleep(APART / 2)
        if not _state["signal"]:  # put off, swallowed, or it came as the main thread began to wait: Python overlooks it
            signal.pthread_kill(threading.main_thread().ident or 0, number)
    _state["signal"] = _state["signal"] or signal.Signals(number)
    end(128 + number)


def stopped() -> tuple[int, str] | None:
    """Return (exit code, a line for a person) where a signal has stopped the program, else None.

    The line is empty where another program of ours has started this one: that program says it.
    """
    if (number := _state["signal"]) and _state["parent"]:
        return 128 + number, ""
    if number:
        return 128 + number, f"\n{SIGNALS[number.name]}; what was saved is kept{what_is_kept(': ')}"
    return None


def what_is_kept(before: str) -> str:
    """Return what is kept and how to go on, after the text `before`; "" where nothing is."""
    return f"{before}{'; '.join(kept.values())}" if kept else ""


def end(code: int, line: str | None = None) -> NoReturn:
    """End the program at once, from any thread: say the line, or what stopped it, and leave nothing half done."""
    lock.acquire(timeout=GRACE)  # and never release it
    if line is None and (reason := stopped()):
        line = reason[1]
    for stream, text in ((sys.stdout, ""), (sys.stderr, f"{line}\n" if line else "")):
        with contextlib.suppress(Exception):  # closed, or its reader has gone
            stream.write(text)
            stream.flush()
    for hook in hooks:  # they end the processes that this one has started
        with contextlib.suppress(Exception):
            hook()
    for path in (*filter(None, [_state["folder"]]), *_scratch):  # what is temporary and half written
        with contextlib.suppress(OSError):
            discard(Path(path))
    os._exit(code)  # TensorFlow takes more than a second to free one by one what the system frees at once
