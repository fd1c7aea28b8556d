"""Locks between processes: held, refused, waited for, freed by a kill; nothing stays behind."""

import ast
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT

from common.core.errors import UserError
from common.core.locks import exclusive_lock, lock_open_file

POSIX_ONLY = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
WITHOUT_WINDOWS = "sys.platform != 'win32'"


@pytest.fixture
def another(tmp_path):
    """Another process, which holds the lock file a/b/.lock till its standard input ends."""
    program = f"""
from pathlib import Path
from common.core.locks import exclusive_lock
with exclusive_lock(Path({str(tmp_path)!r}, "a", "b", ".lock")):
    print("held", flush=True)
    input()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], cwd=PROJECT, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield process


def test_a_lock_file_that_cannot_be_removed_stops_nothing(tmp_path, monkeypatch):
    """As on Windows, which removes no open file."""

    def refuse(path, missing_ok=False):
        raise PermissionError(errno.EACCES, "used by another process")

    monkeypatch.setattr(Path, "unlink", refuse)
    with exclusive_lock(tmp_path / ".lock", "busy"):
        pass
    with exclusive_lock(tmp_path / ".lock", "busy"):
        pass


def test_a_second_process_is_refused_in_one_line(another, tmp_path):
    with pytest.raises(UserError) as error, exclusive_lock(tmp_path / "a" / "b" / ".lock", "busy; wait"):
        pass
    assert str(error.value) == f"{tmp_path / 'a' / 'b'}: busy; wait"
    assert (tmp_path / "a" / "b" / ".lock").exists()


def test_a_second_process_waits_and_then_nothing_is_left(another, tmp_path):
    another.stdin.write("\n")
    another.stdin.flush()
    with exclusive_lock(tmp_path / "a" / "b" / ".lock"):
        another.wait()
        assert (tmp_path / "a" / "b" / ".lock").exists()  # the first has not removed the second's
    assert not any((tmp_path / "a" / "b").glob("*"))


def test_a_killed_process_holds_nothing(another, tmp_path):
    another.kill()
    another.wait()
    with exclusive_lock(tmp_path / "a" / "b" / ".lock", "busy"):
        (tmp_path / "a" / "b" / "results").touch()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["results"]


def test_folders_made_for_a_lock_go_with_it(tmp_path):
    with exclusive_lock(tmp_path / "a" / "b" / ".lock", "busy"):
        pass
    assert not any(tmp_path.iterdir())


def test_a_file_system_without_locks_stops_nothing(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr("fcntl.flock", unsupported)
    with exclusive_lock(tmp_path / ".lock", "busy"), open(tmp_path / "x", "w") as file:
        assert lock_open_file(file)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_nothing_that_a_script_imports_is_for_posix_only():
    """So that another system shows its own message and no traceback of an import.

    What is imported below `if sys.platform != "win32":` is not imported there.
    """
    for path in (*PROJECT.glob("*.py"), *PROJECT.glob("common/**/*.py")):
        tree = ast.parse(path.read_bytes())
        guarded = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == WITHOUT_WINDOWS]
        tree.body = [node for node in tree.body if node not in guarded]
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert POSIX_ONLY.isdisjoint(names), path
