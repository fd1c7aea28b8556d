"""What a stop leaves and says, whenever it comes; `make stops` tries random moments."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time

import pytest
from conftest import PROJECT
from programs import start

from common.core import stopping


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_threads_are_not_waited_for_and_leave_nothing(tmp_path, number):
    """As in the SSIM of a picture of 100 megapixels, which took 20 seconds to end."""
    body = """
        from common.core.files import atomic_write
        from common.core.parallel import parallel_map
        import tempfile
        def work(name):
            with atomic_write(folder / name) as temporary, tempfile.TemporaryDirectory() as other:
                temporary.write_text("half")
                (Path(other) / "x").touch()
                time.sleep(60)
        stop(NUMBER)
        parallel_map(work, ["a", "b"], 2, "file")
    """.replace("NUMBER", str(int(number)))
    started = time.monotonic()
    program = start(tmp_path, body)
    _, said = program.communicate(timeout=50)
    assert program.returncode == 128 + number and "Traceback" not in said and "what was saved is kept" in said
    assert time.monotonic() - started < 20
    assert [path.name for path in tmp_path.rglob("*")] == ["tmp"]


def test_a_program_that_takes_long_to_save_is_ended(tmp_path):
    program = start(
        tmp_path,
        f"""
        from common.core.locks import exclusive_lock
        with exclusive_lock(folder / ".lock", "busy"):
            stop({int(signal.SIGTERM)})
            try:
                time.sleep(60)
            finally:
                time.sleep(60)
        """,
    )
    _, said = program.communicate(timeout=50)
    assert program.returncode == 143 and said == "\nstopped by SIGTERM; what was saved is kept\n"
    assert [path.name for path in tmp_path.rglob("*")] == ["tmp"]


@pytest.mark.parametrize(
    "swallows", ["x = type('X', (), {'__del__': stop_now})()", "x = type('X', (), {})(); y = weakref.ref(x, stop_now)"]
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_where_python_cannot_raise_comes_again(tmp_path, number, swallows):
    """As in what a garbage collection calls at its end: "Exception ignored in", a traceback, and the stop was lost."""
    program = start(
        tmp_path,
        f"""
        import weakref
        def stop_now(_):
            os.kill(os.getpid(), {int(number)})
            return sum(1 for _ in range(1000))
        {swallows}
        del x
        try:
            time.sleep(60)
        finally:
            (folder / "saved").touch()
        """,
    )
    _, said = program.communicate(timeout=50)
    assert program.returncode == 128 + number and said.count("\n") == 2 and "what was saved is kept" in said, said
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["saved", "tmp"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_as_it_ends(tmp_path, number):
    program = start(tmp_path, f"stopping.hooks.append(lambda: os.kill(os.getpid(), {int(number)}))")
    _, said = program.communicate(timeout=50)
    assert program.returncode == 128 + number and said.count("\n") == 2 and "what was saved is kept" in said, said
    assert not list((tmp_path / "tmp").iterdir())


def test_what_is_kept_is_named(tmp_path):
    """Rows so far lie in a hidden file, which nobody would find."""
    rows = """
        from common.core.row_file import RowFile
        rows = RowFile(folder / "rows.csv", ["path"])
        rows.write([{"path": "a.png"}])
    """
    part = tmp_path / ".part-rows.csv"
    kept = f"the rows so far in {part}, --resume goes on with them"
    for end, code, line in (
        (f"stop({int(signal.SIGINT)}); time.sleep(60)", 130, f"\ninterrupted; what was saved is kept: {kept}\n"),
        ("raise OSError(28, 'No space left on device', 'x')", 2, f"error: x: No space left on device; kept: {kept}\n"),
    ):
        program = start(tmp_path, textwrap.dedent(rows) + end)
        _, said = program.communicate(timeout=50)
        assert (program.returncode, said) == (code, line)
        part.unlink()


def test_the_next_program_removes_what_a_killed_one_left(tmp_path):
    sleeps = "import tempfile; tempfile.mkdtemp(); print('there', flush=True); time.sleep(60)"
    killed, running = start(tmp_path, sleeps), start(tmp_path, sleeps)
    for program in (killed, running):
        assert program.stdout.readline() == "there\n"
    killed.kill()
    killed.wait()
    assert len(list((tmp_path / "tmp").iterdir())) == 2
    assert start(tmp_path, "pass").wait() == 0
    assert len(list((tmp_path / "tmp").iterdir())) == 1  # that of the one that runs
    running.terminate()
    assert running.wait() == 143 and not list((tmp_path / "tmp").iterdir())


def test_a_folder_is_locked_while_it_is_removed(tmp_path, monkeypatch):
    """Else a program that has just made it would take it for its own."""
    (tmp_path / f"{stopping.FOLDER}left").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    remove, free = shutil.rmtree, []

    def watched(path, **settings):
        free.append(stopping._lock_folder(path))
        remove(path, **settings)

    monkeypatch.setattr(shutil, "rmtree", watched)
    own = stopping._make_folder()
    assert free == [None] and [str(path) for path in tmp_path.iterdir()] == [own]
    assert stopping._lock_folder(own) is None


@pytest.mark.parametrize("parent", [None, str(os.getpid())], ids=["alone", "started by ours"])
@pytest.mark.parametrize(
    ("program", "module"), [(["-m", "common.prepare"], "signal"), (["LAT.py"], "dataclasses"), (["LAT.py"], "platform")]
)
def test_ctrl_c_among_the_imports_shows_a_line(tmp_path, program, module, parent):
    (tmp_path / f"{module}.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(30)\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)} | ({stopping.PARENT: parent} if parent else {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, *program], cwd=PROJECT, env=environment, **pipes)
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[1] == ("" if parent else "\ninterrupted\n") and process.returncode == 130


def test_a_users_own_program_keeps_its_ctrl_c(tmp_path):
    (tmp_path / "mine.py").write_text("import common, signal; print(signal.getsignal(2) is signal.default_int_handler)")
    done = subprocess.run(
        [sys.executable, "mine.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True\n"


def test_a_stopped_demo_says_how_it_goes_on(tmp_path):
    body = """
        from common import demo
        step = "(os:=__import__('os')).kill(os.getppid(),2);__import__('time').sleep(60)"
        demo.STEPS = ((f"-c {step}", "never"),)
        demo.main(["--folder", str(folder / "demo")])
    """
    process = start(tmp_path, body)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert errors.endswith(f"kept: {tmp_path / 'demo'}; the same command does the steps that are missing\n")


def test_a_current_folder_that_was_removed(tmp_path):
    process = start(
        tmp_path, "os.mkdir(folder / 'gone'); os.chdir(folder / 'gone'); os.rmdir(os.getcwd()); os.getcwd()"
    )
    assert process.communicate(timeout=60)[1] == "error: the current folder was removed; change to another one\n"
    assert process.returncode == 2
