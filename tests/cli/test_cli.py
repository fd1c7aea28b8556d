"""How a program ends, as its caller sees it."""

import json
import os
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


@pytest.mark.parametrize("command", ["LAT.py --help", "-m common.weights list"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written(command, unbuffered):
    settings = {"cwd": PROJECT, "env": {**os.environ, "PYTHONUNBUFFERED": unbuffered}, "text": True}
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, *command.split()], stdout=full, stderr=subprocess.PIPE, **settings)
    assert (done.returncode, done.stderr) == (2, "error: standard output: No space left on device\n")


def test_a_defect_keeps_its_traceback():
    done = ends("1 / 0")
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


def test_a_seed_is_checked_before_anything_runs(capsys):
    for seed in ("-1", str(2**32), "x"):
        with pytest.raises(SystemExit, match="2"):
            script.run_script("", LAT, arguments=["train", "--seed", seed])
        assert "expected a whole number, from 0 to 4294967295" in capsys.readouterr().err


def test_flags_of_encoding_need_encode(capsys):
    for flags in (["--codec", "av1"], ["--level", "JND1"], ["--baseline", "22"], ["--scene", "median"]):
        with pytest.raises(SystemExit, match="2"):
            script.run_script("", LAT, arguments=["predict", "a.png", *flags])
        assert f"{flags[0]}: only for encoding; add --encode DIR" in capsys.readouterr().err
    refused = {
        "--baseline": ("22", "--baseline: only"),
        "--encode": ("out", "out --encode"),
        "--output": ("-", "out --o"),
    }
    for flag, (value, said) in refused.items():
        with pytest.raises(SystemExit, match="2"):
            script.run_script("", LAT, arguments=["predict", "a.mp4", "--format", "json", flag, value])
        assert said in capsys.readouterr().err


HELP = r"""
import argparse, contextlib, io, json, os, runpy, shlex, sys

parsers, add_parser, programs = {}, argparse._SubParsersAction.add_parser, sys.argv[1:]
def noted(self, name, **settings):
    parsers[name] = add_parser(self, name, **settings)
    return parsers[name]
argparse._SubParsersAction.add_parser = noted
os._exit = sys.exit  # which ends a program

def run(*arguments):
    sys.argv = [*arguments]
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        runpy.run_path(arguments[0], run_name="__main__")
    return printed.getvalue()

os.environ["COLUMNS"] = "100"
for program in programs:
    parsers.clear()
    helps = {"": run(program, "--help")}
    for name, parser in list(parsers.items()):
        helps[name] = run(program, name, "--help")
        texts = {action.option_strings[-1]: action.help for action in parser._actions if action.option_strings}
        _, _, examples = parser.epilog.partition("examples:")
        for line in examples.split("exit codes")[0].replace("\\\n", "").split("\n")[1:-2]:
            words = shlex.split(line, comments=True)
            words = words[: words.index("|")] if "|" in words else words
            parser.parse_args(words[len(parser.prog.removeprefix("python3 ").split()) + 1 :])
        print(json.dumps({"command": f"{program} {name}", "flags": texts, "examples": examples.count("python3 ")}))
    for name, help in helps.items():
        print(json.dumps({"command": f"{program} {name}".strip(), "help": help}))
    heavy = {"tensorflow", "keras", "pandas", "skimage", "matplotlib", "pooch", "requests"}
    heavy |= set() if "/common/" in program else {"numpy", "PIL", "filelock", "tqdm", "importlib.metadata"}
    heavy &= set(sys.modules)
    assert not heavy, f"{program}: {heavy}"
"""


@pytest.fixture(scope="module")
def helps(run):
    """{command: what --help prints}, and {command: what its parser knows}, of every program and command.

    In one process, where what one of them imports stays; the examples of each have been parsed.
    """
    programs = [*PROJECT.glob("*.py"), *(PROJECT / "common").glob("[!_]*.py")]
    done = run("-c", HELP, *programs, PYTHONPATH=str(PROJECT))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    texts = {row["command"].removeprefix(f"{PROJECT}/"): row["help"] for row in rows if "help" in row}
    return texts, {row["command"].removeprefix(f"{PROJECT}/"): row for row in rows if "flags" in row}


def test_help_waits_for_nothing_heavy_and_ends_with_examples_that_parse(helps):
    texts, parsers = helps
    assert {"LAT.py train", "MTJND.py export", "common/demo.py", "common/prepare.py mcl-jci"} <= set(texts)
    for command, text in texts.items():
        assert text.startswith("usage: ") and "\nexamples:\n  python3 " in text, command
        assert "\nexit codes: 0 " in text and "--quiet" in text and "--verbose" in text, command
    assert all(row["examples"] for row in parsers.values())


def test_help_fits_two_screens_and_explains_no_flag_by_another(helps):
    texts, parsers = helps
    for command, text in texts.items():
        lines = text.splitlines()
        assert len(lines) <= 100, command
        if command in parsers:
            assert "\nwhat it " in text and max(map(len, lines)) <= 120, command
    for command, row in parsers.items():
        assert {flag: text for flag, text in row["flags"].items() if "--" in text} == {}, command


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("LAT.py tr", {"train"}),
        ("LAT.py predict --fit ", {"stretch", "crop", "tiles"}),
        ("LAT.py train --on", {"--on_dead"}),
        ("-m common.weights ", {"fetch", "list", "verify", "cache"}),
    ],
)
def test_a_shell_completes_commands_flags_and_choices(line, words, run, tmp_path):
    """As argcomplete's function in a shell asks a program; it finds the program by a line at the file's start."""
    program, skipped = line.split()[0], 2 if line.startswith("-m") else 1
    asked = f"python3 {line}"
    shell = {"_ARGCOMPLETE": str(skipped + 1), "_ARGCOMPLETE_SHELL": "bash", "IFS": "\v", "COMP_LINE": asked}
    out = tmp_path / "words"
    done = run(
        *([program] if skipped == 1 else line.split()[:2]),
        **shell,
        COMP_POINT=str(len(asked)),
        _ARGCOMPLETE_STDOUT_FILENAME=str(out),
    )
    assert done.returncode == 0, done.stderr
    assert words <= {word.strip() for word in out.read_text().split("\v")}


def test_every_program_can_be_completed():
    programs = [*PROJECT.glob("*.py"), *(PROJECT / "common").glob("[!_]*.py")]
    assert len(programs) >= 13
    for file in programs:
        assert file.read_text().startswith("# PYTHON_ARGCOMPLETE_OK\n"), file


def test_variables_that_are_wrong_are_not_read(run, small_weights):
    wrong = {"JND_PARENT_PROCESS": "abc", "TQDM_MININTERVAL": "x"}
    done = run(
        "LAT.py", "predict", "nowhere.png", "--jnd_value", "JND1", "--model_weights_path", small_weights, **wrong
    )
    assert done.returncode == 1 and done.stderr == "error: nowhere.png: no such file; check the path\n"


def test_scripts_find_their_folder_where_python_leaves_it_out(run):
    for file in PROJECT.glob("*.py"):
        assert "\nsys.path.insert(0, dirname(__file__))" in file.read_text(), file
    done = run("E2EREC.py", "--help", PYTHONSAFEPATH="1")  # which imports three others
    assert done.returncode == 0 and "usage: " in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("flag", "stdout", "stderr"),
    [
        ([], "result\nnote\n", "warning\n"),
        (["--quiet"], "result\n", ""),
        (["--verbose"], "result\nnote\n", "warning\n"),
    ],
)
def test_a_program_says_as_much_as_its_user_wants(flag, stdout, stderr):
    """Also one that it starts."""
    body = f"""
    import os
    from common.cli.program import Parser
    from common.core import messages, processes
    child = len(sys.argv) > 1
    if not child:
        Parser().parse_args({flag})
        return processes.run_python("-c", os.environ["PROGRAM"], "child", env={{**os.environ}})
    Parser().parse_args([])
    print("result")
    messages.note("note")
    messages.warn("warning")
    messages.detail("detail")
    raise UserError("mistake")
    """
    program = textwrap.dedent(f"""
import sys
from common.cli.program import run
from common.core.errors import UserError
def main():
{textwrap.indent(textwrap.dedent(body), "    ")}
run(main)
""")
    done = ends(body, env={**os.environ, "PROGRAM": program})
    assert done.returncode == 2 and done.stdout == stdout and done.stderr.endswith("error: mistake\n")
    if flag == ["--verbose"]:
        assert " s] detail\n" in done.stderr and "Traceback" in done.stderr and "Python 3." in done.stderr
    else:
        assert done.stderr == f"{stderr}error: mistake\n"


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
