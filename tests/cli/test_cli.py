"""How a program ends, as its caller sees it."""

import signal
import subprocess
import sys
import textwrap

import pytest
from conftest import PROJECT

from common.cli import script
from LAT import LAT


def ends(body, **how):
    """Run a program whose main() has this body through cli.run: stdout, stderr, returncode."""
    program = f"""
import sys
from common.cli.program import run
from common.core.errors import UserError
def main():
{textwrap.indent(textwrap.dedent(body), "    ")}
run(main)
"""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, **how)


@pytest.mark.parametrize(
    ("body", "code", "stderr"),
    [
        ("print('well'); return 0", 0, ""),
        ("return 1", 1, ""),
        (r"raise UserError('x\x1b[31m.csv:\t3')", 2, "error: x\\x1b[31m.csv:\\t3\n"),
        (r"raise UserError('x\x1b[31m.csv:\t3')", 2, "error: x\\x1b[31m.csv:\\t3\n"),
        ("open('/nowhere/x.csv')", 2, "error: /nowhere/x.csv: No such file or directory\n"),
        ("raise MemoryError", 2, "error: out of memory; lower --batch_size\n"),
        ("raise KeyboardInterrupt", 130, "\ninterrupted; what was saved is kept\n"),
        ("print('\\udcff.png'); return 0", 0, ""),
    ],
)
def test_every_end_has_its_code_and_its_line(body, code, stderr):
    done = ends(body)
    assert (done.returncode, done.stderr) == (code, stderr)


def test_a_defect_keeps_its_traceback():
    done = ends("1 / 0")
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


def test_a_seed_is_checked_before_anything_runs(capsys):
    for seed in ("-1", str(2**32), "x"):
        with pytest.raises(SystemExit, match="2"):
            script.run_script("", LAT, arguments=["train", "--seed", seed])
        assert "is no whole number from 0 to 4294967295" in capsys.readouterr().err


def test_flags_of_encoding_need_encode(capsys):
    for flags in (["--codec", "av1"], ["--level", "JND1"], ["--baseline", "22"], ["--scene", "median"]):
        with pytest.raises(SystemExit, match="2"):
            script.run_script("", LAT, arguments=["predict", "a.png", *flags])
        assert f"{flags[0]}: only for encoding; add --encode DIR" in capsys.readouterr().err


HELP = """
import argparse, contextlib, io, runpy, sys

commands, add_parser = [], argparse._SubParsersAction.add_parser
def noted(self, name, **settings):
    commands.append(name)
    return add_parser(self, name, **settings)
argparse._SubParsersAction.add_parser = noted

def help_of(*arguments):
    sys.argv = [*arguments, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        runpy.run_path(arguments[0], run_name="__main__")
    assert printed.getvalue().startswith("usage: ")
    heavy = {"tensorflow", "keras", "pandas", "skimage", "matplotlib", "pooch", "requests"} & set(sys.modules)
    assert not heavy, f"{arguments}: {heavy}"
    print(*arguments)

for program in sys.argv[1:]:
    commands.clear()
    help_of(program)
    for command in list(commands):
        help_of(program, command)
"""


def test_help_waits_for_nothing_heavy(run):
    """Of any program and command, in one process, where what one of them imports stays."""
    programs = [*PROJECT.glob("*.py"), *(PROJECT / "common").glob("[!_]*.py")]
    done = run("-c", HELP, *programs, PYTHONPATH=str(PROJECT))
    assert done.returncode == 0, done.stderr
    helped = {line.removeprefix(f"{PROJECT}/") for line in done.stdout.splitlines()}
    assert {"LAT.py train", "MTJND.py export", "common/demo.py", "common/prepare.py mcl-jci"} <= helped


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_program_leaves_nothing_half_written(number, tmp_path):
    done = ends(
        f"""
        import os
        from common.core.files import atomic_write
        with atomic_write({str(tmp_path / "x.h5")!r}) as temporary:
            temporary.write_bytes(b"half")
            os.kill(os.getpid(), {int(number)})
            import time
            time.sleep(20)
        """
    )
    assert done.returncode == 128 + number and list(tmp_path.iterdir()) == []
