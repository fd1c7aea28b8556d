"""A tenth model is one file beside the others and no edit elsewhere: trained, tested, loaded, evaluated, exported."""

import shutil
import subprocess
import sys

import pandas as pd
import pytest
from conftest import PROJECT

TENTH = '''"""TENTH: the mean colour of a small image, and two Dense layers."""

from dataclasses import dataclass

from common.cli.script import main
from common.core import keras
from common.media.formats import InputFormat
from common.models.registry import ModelSpec, Output, register


@dataclass(frozen=True)
class Defaults:
    epochs: int = 1
    batch_size: int = 2
    learning_rate: float = 1e-3


def build_model(shape):
    image = keras.Input(shape, name="image")
    x = keras.layers.GlobalAveragePooling2D(name="mean")(image)
    x = keras.layers.Dense(8, "tanh", name="hidden")(x)
    return keras.Model(image, keras.layers.Dense(1, "relu", name="JND_output")(x), name="TENTH")


TENTH = register(
    ModelSpec(
        name="TENTH",
        script=__file__,
        build=build_model,
        outputs=(Output("JND_output"),),
        defaults=Defaults(),
        weights="TENTHJND{jnd}.h5",
        input=InputFormat(64, 64, 1 / 255),
    )
)

if __name__ == "__main__":
    main(__doc__, TENTH)
'''

# All in one process, since each start of TensorFlow takes seconds; evaluate starts `TENTH.py test` by itself.
PROGRAM = """
import pathlib, shutil, sys
from common import evaluate, list_models, load, train
from common.cli.script import run_script

root, out = sys.argv[1:]
assert list_models()[-1] == "TENTH" and len(list_models()) == 10
from TENTH import TENTH

def run(*arguments):
    assert run_script("", TENTH, arguments=[*arguments, "--jnd_value", "JND2"]) == 0

run("train", "--data_dir", root, "--checkpoint_path", out, "--csv_log_path", out)
shutil.copyfile(f"{out}/BestModelJND2.h5", f"{out}/weights/TENTHJND2.h5")
run("test", "--data_dir", root, "--model_weights_path", f"{out}/weights", "--result_path", out)
prediction = load("TENTH", weights=f"{out}/weights")(f"{root}/test/img1.png")
print("loaded", prediction.levels)
run("export", "--format", "savedmodel", "--model_weights_path", f"{out}/weights", "--output", f"{out}/tenth.savedmodel")
assert evaluate.main(["--data_dir", root, "--weights", f"{out}/weights", "--output", f"{out}/results"]) == 0
assert train("TENTH", level="JND1", data_dir=root, checkpoint_path=f"{out}/python", epochs=2).epoch in (1, 2)
"""


@pytest.fixture
def project(tmp_path):
    """A copy of the project, with the tenth model in it."""
    folder = tmp_path / "project"
    shutil.copytree(PROJECT / "common", folder / "common", ignore=shutil.ignore_patterns("__pycache__"))
    for script in PROJECT.glob("*.py"):
        shutil.copyfile(script, folder / script.name)
    (folder / "TENTH.py").write_text(TENTH)
    return folder


def test_a_tenth_model_is_one_file(project, rootdir, tmp_path):
    out = tmp_path / "out"
    (out / "weights").mkdir(parents=True)
    command = [sys.executable, "-c", PROGRAM, str(rootdir), str(out)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    tested = pd.read_csv(out / "JND2test_results.csv")
    assert f"loaded {{'JND2': {tested['JND2'][0]:.4f}"[:20] in done.stdout
    results = pd.read_csv(out / "results" / "results.csv")
    assert list(results["model"][:1]) == ["TENTH"] and results["MAE"][0] > 0
    assert (out / "tenth.savedmodel" / "saved_model.pb").is_file() and (out / "python" / "BestModelJND1.h5").is_file()
