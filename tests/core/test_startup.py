"""The machine's settings change nothing: a test for each, in a process of its own."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import PROJECT
from golden import seeded

from common.media.images import write_png

LEVELS = (
    "import numpy as np; from common import load; print(load('LAT', 1, 'W')(np.zeros((64, 64, 3), 'uint8')).levels)"
)
LOAD = """
from common.core import keras_backend
keras_backend.load_keras()
import keras
config = keras.config
print([config.backend(), config.image_data_format(), config.floatx(), config.epsilon(), config.dtype_policy().name])
"""
CONFIGURED = "['tensorflow', 'channels_last', 'float32', 1e-07, 'float32']\n"
STREAMS = """
import sys
from common.cli.program import run
def main():
    with open("new.txt", "w") as file:  # would get the number of a closed stream
        print("to a reader"); sys.stderr.write("an error"); sys.stdout.flush()
        import os; os.write(1, b"from a library"); os.write(2, b"from a library")
        file.write("content")
    print(repr(sys.stdin.read()), file=sys.stderr)
    return 3
run(main)
"""
READER = """
import sys
from common.cli.program import run
from common.core import startup
def main():
    {}
    for number in range(3):
        print("line", number, flush=True)
        sys.stdin.readline()
    open("end", "w").close()
    return 0
run(main)
"""


def python(program, folder, **environment):
    """Run a program of this project in `folder`; a variable that is None is taken away."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "KERAS_BACKEND": "", **environment}
    environment = {name: value for name, value in environment.items() if value is not None}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "module://not_there", "not_there"])
def test_a_backend_of_matplotlib_that_is_not_there(backend, tmp_path):
    plot = "from common.core.plotting import png_figure\nwith png_figure('plot.png', 'title', (1, 1)): pass"
    done = python(plot, tmp_path, MPLBACKEND=backend)
    assert (done.stderr, done.returncode, (tmp_path / "plot.png").is_file()) == ("", 0, True)


def test_keras_with_all_that_could_stop_it(tmp_path):
    """A backend of matplotlib, a keras.json that Keras refuses, variables that cut trainings short."""
    content = '{"backend": "theano", "floatx": "bfloat16", "epsilon": 1, "image_data_format": "channels_first"}'
    (tmp_path / "keras.json").write_text(content)
    program = """
print(config.max_epochs(), config.max_steps_per_epoch())
print(vars(sys.modules["keras.src.backend.config"])["_KERAS_DIR"], os.environ["KERAS_HOME"])
"""
    variables = {"KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "1", "MPLBACKEND": "module://not_there"}
    done = python(f"import os, sys\n{LOAD}\n{program}", tmp_path, KERAS_HOME=str(tmp_path), **variables)
    assert done.stdout == f"{CONFIGURED}None None\n{tmp_path} {tmp_path}\n" and not done.returncode, done.stderr
    assert (tmp_path / "keras.json").read_text() == content


def test_a_notebook_that_has_set_keras_otherwise(weight_files, tmp_path):
    os.symlink(weight_files, tmp_path / "W")
    before = "import keras; keras.config.set_floatx('float16'); keras.config.set_image_data_format('channels_first'); "
    before += "keras.config.set_dtype_policy('mixed_float16')\n"
    expected, done = (python(program, tmp_path) for program in (LEVELS, before + LEVELS))
    assert done.stdout == expected.stdout != "" and not done.returncode, done.stderr


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (1, 2), (0, 1, 2)])
def test_closed_streams(closed, tmp_path):
    closing = " ".join(f"{number}>&-" for number in closed)
    command = ["sh", "-c", f'exec "$0" -c "$1" {closing}', sys.executable, STREAMS]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(PROJECT)}, capture_output=True, input=b"in"
    )
    assert (tmp_path / "new.txt").read_text() == "content"
    assert done.returncode == 3
    assert (b"to a reader" in done.stdout, b"an error" in done.stderr) == (1 not in closed, 2 not in closed)
    if 2 not in closed:
        assert done.stderr.endswith(b"''\n" if 0 in closed else b"'in'\n")


@pytest.mark.parametrize(("goes_on", "code"), [("startup.outlive_readers()", 0), ("pass", 141)])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes(goes_on, code, unbuffered, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": unbuffered}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [sys.executable, "-c", READER.format(goes_on)]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes) as process:
        assert process.stdout.readline() == "line 0\n"
        process.stdout.close()
        process.stdin.close()
        said = process.stderr.read()
    assert process.returncode == code and (tmp_path / "end").exists() == (code == 0)
    assert said == ("" if code else "warning: standard output: its reader has gone; goes on without it\n")


def test_trainings_go_on_without_a_reader():
    for script in ("common/cli/script.py", "common/reconstruct.py"):
        text = (PROJECT / script).read_text()
        assert text.index("startup.outlive_readers()") < text.index(" train(spec, config_from(")


HOMELESS = """
import os, pwd, sys
def nobody(number): raise KeyError(number)
pwd.getpwuid = nobody
from common.cli.program import run
def main():
    from common.core.plotting import png_figure
    with png_figure("plot.png", "title", (1, 1)): pass
    print(os.path.expanduser("~"), os.environ["MPLCONFIGDIR"])
    return 0
run(main)
"""


@pytest.mark.parametrize("home", [None, "/proc/none"])
def test_no_home_folder(home, tmp_path):
    """As in containers, whose user has no entry in passwd: neither a traceback nor a folder `~`."""
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    for folder in (work, temporary):
        folder.mkdir()
    done = python(HOMELESS, work, HOME=home, TMPDIR=str(temporary), XDG_CONFIG_HOME=None, XDG_CACHE_HOME=None)
    said = done.stderr.replace("Matplotlib is building the font cache; this may take a moment.\n", "")  # after 5 s
    assert (done.returncode, said) == (0, "")
    named_home, settings = done.stdout.split()
    assert settings.startswith(f"{temporary}/jnd-home-") and named_home == (home or settings)
    assert [path.name for path in work.iterdir()] == ["plot.png"] and not list(temporary.iterdir())


def test_a_folder_with_brackets_and_a_pattern_in_it(tmp_path):
    from common.core.errors import UserError
    from common.media.images import read_image
    from common.prediction.inputs import find_places

    for name in ("a1.png", "a2.png", "b [1].png"):
        write_png(tmp_path / "set [2024]" / name, np.zeros((8, 8, 3), np.uint8))
    found = [*find_places([str(tmp_path / "set [2024]" / "a*.png")])]
    assert [path.name for path in found] == ["a1.png", "a2.png"]
    (missing,) = find_places([str(tmp_path / "set [2024]" / "c [1]*.png")])
    with pytest.raises(UserError, match=r"no such file; check the path, or write \[\[\] for a bracket in a pattern"):
        read_image(missing)


def test_a_folder_whose_name_is_not_utf8(weight_files, tmp_path, run):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    flags = ("--jnd_value", "JND1", "--model_weights_path", weight_files, "--output", folder)
    done = run("LAT.py", "export", *flags, "--format", "savedmodel")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert r"caf\udce9/LATJND1." in done.stderr and "not UTF-8; give another folder" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["predict", "test"])
def test_finite_weights_whose_products_are_not(command, rootdir, tmp_path, run):
    import h5py

    file, images = tmp_path / "LATJND1.h5", rootdir / "test"
    seeded.write_h5("LAT", file)
    with h5py.File(file, "r+") as opened:
        opened.visititems(lambda name, part: part.__setitem__(..., part[...] * 1e25) if "kernel" in name else None)
    to = ["--data_dir", rootdir, "--jnd_value", "JND1", "--result_path", tmp_path / "out"]
    done = run("LAT.py", command, "--model_weights_path", file, *(to if command == "test" else [images]))
    assert done.returncode == 2, done.stdout
    assert f"error: {file}: the network gives " in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_quality_factors_without_their_flag(tmp_path):
    from common.data.labels import LABEL_FILE, read_labels

    (tmp_path / LABEL_FILE).write_text("80 60 40\n101 10 20\n")
    _, problems, _ = read_labels(tmp_path / LABEL_FILE, ["a.png", "b.png"], "QP")
    assert "80 is outside 0 to 51 (JPEG quality factors? --label_unit QF)" in problems[0]
    assert "--label_unit" not in problems[1]


def test_a_program_on_standard_input_may_import_it():
    program = "import common; print(common.__version__)"
    done = subprocess.run([sys.executable, "-"], cwd=PROJECT, input=program, capture_output=True, text=True)
    assert done.stderr == "" and done.stdout
