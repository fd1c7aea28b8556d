"""What becomes of the programs that one of ours starts, and of their exit codes."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import PROJECT
from programs import HEAD, start, wait_for

from common.core.processes import run_python


@pytest.mark.parametrize(
    "begin",
    ["start(ffmpeg.input('x').output('y')); time.sleep(60)", "run_python('-c', 'import time; time.sleep(40)')"],
    ids=["ffmpeg", "python"],
)
def test_a_stop_as_a_process_starts(tmp_path, begin):
    """It must be known before the exception comes, or nobody ends it."""
    sleep = tmp_path / "ffmpeg"
    sleep.write_text("#!/bin/sh\necho started\nexec sleep 40\n")
    sleep.chmod(0o755)
    body = """
        import ffmpeg, subprocess
        from common.core.processes import run_python
        from common.media.ffmpeg_process import start
        class Stopped(subprocess.Popen):
            def __init__(self, *words, **settings):
                super().__init__(*words, **settings)
                os.kill(os.getpid(), signal.SIGTERM)
                [None for _ in range(1000)]
        subprocess.Popen = Stopped
        os.environ["FFMPEG"] = str(folder / "ffmpeg")
        BEGIN
    """.replace("BEGIN", begin)
    program = start(tmp_path, body)
    began = time.monotonic()
    assert program.stdout.read() in ("", "started\n")  # ends when both have
    assert program.wait() == 143 and time.monotonic() - began < 20


def test_ffmpeg_ends_with_a_killed_program(tmp_path):
    """Also while it writes nothing, as on its way to a late frame of a film."""
    fake = tmp_path / "ffmpeg"
    fake.write_text("#!/bin/sh\necho $$ > pid; mv pid $PWD/started; exec sleep 60")
    fake.chmod(0o755)
    program = start(
        tmp_path,
        """
        import ffmpeg
        from common.media import ffmpeg_process
        os.environ["FFMPEG"] = str(folder / "ffmpeg")
        os.chdir(folder)
        ffmpeg_process.run(ffmpeg.input("a").output("b"), "waiting")
        """,
    )
    wait_for((tmp_path / "started").exists)
    program.kill()
    program.communicate()
    wait_for(lambda: not os.path.exists(f"/proc/{(tmp_path / 'started').read_text().strip()}"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_programs_that_it_started_end_too(tmp_path, number):
    inner = "import sys, time; from common.cli.program import run; run(lambda: print(1, flush=True) or time.sleep(60))"
    program = start(tmp_path, f"from common.core.processes import run_python; run_python('-c', {inner!r})")
    assert program.stdout.readline() == "1\n"
    program.send_signal(number)
    program.wait(timeout=20)
    assert program.stdout.read() == ""  # which comes when the inner one, that has it too, has ended
    assert program.stderr.read().count("what was saved is kept") == (number == signal.SIGTERM)  # not by both
    wait_for(lambda: number == signal.SIGKILL or not list((tmp_path / "tmp").iterdir()))


def test_a_program_may_be_started_by_one_that_was_started(tmp_path):
    """It has another parent than the one that the first was told of."""
    inner = "from common.cli.program import run; run(lambda: 7)"
    command = f"subprocess.run([sys.executable, '-c', {inner!r}]).returncode"
    outer = f"import subprocess, sys; from common.cli.program import run; run(lambda: {command})"
    program = start(tmp_path, f"from common.core.processes import run_python; return run_python('-c', {outer!r})")
    assert program.wait(timeout=60) == 7


def test_a_program_is_stopped_when_its_seconds_are_over():
    started = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        run_python("-c", "import time; time.sleep(60)", seconds=0.5)
    assert time.monotonic() - started < 30


def test_an_ignored_signal_of_children_hides_no_exit_code(tmp_path):
    body = (
        "import subprocess; sys.exit(7 + subprocess.run([sys.executable, '-c', 'import sys; sys.exit(3)']).returncode)"
    )
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    program = f"{HEAD}\ndef main():\n    {body}\nrun(main)"
    command = [sys.executable, "-c", ignoring, sys.executable, "-c", program, str(tmp_path)]
    assert subprocess.run(command, cwd=PROJECT, timeout=60).returncode == 10
