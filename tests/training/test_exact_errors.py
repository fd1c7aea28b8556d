"""Losses and metrics in logs are means over images also where the last batch is smaller, or filled up with doubles."""

import functools
import json
import os
import shutil
import sys
from dataclasses import replace
from importlib.util import find_spec

import keras
import numpy as np
import pytest
import small
from conftest import PROJECT
from keras import layers

from common.data.labels import write_labels
from common.media.images import read_input
from common.models.losses import FUNCTIONS
from common.models.registry import Output
from common.models.weight_files import load
from common.training.train import train

LEVELS = ("JND1", "JND2", "JND3")
OUTPUTS = (
    Output("JNDImg", target="frame", level="JND1", loss="mse", weight=0.01, metrics=("psnr", "ssim", "mae")),
    *(Output(f"{level}_output", level=level) for level in LEVELS),
)
LABELS = np.array([[22, 27, 31], [23, 30, 33], [29, 31, 44], [20, 24, 30], [25, 26, 41]], float)
COUNTS = {"train": 5, "valid": 3}


def build(shape, outputs=OUTPUTS):
    """Three levels and a frame on a frozen convolution, without random numbers while it trains."""
    image = keras.Input(shape, name="picture")
    kernel = keras.initializers.RandomNormal(seed=1)
    frozen = layers.Conv2D(4, 3, padding="same", trainable=False, kernel_initializer=kernel, name="frozen")(image)
    flat = layers.Flatten()(layers.AveragePooling2D(4)(frozen))
    made = {"JNDImg": layers.Conv2D(3, 3, padding="same", name="JNDImg")(frozen)}
    for level in LEVELS:
        made[f"{level}_output"] = layers.Dense(1, bias_initializer=small.TWENTY, name=f"{level}_output")(flat)
    return keras.Model(image, [made[output.name] for output in outputs])


def learn(root, folder, outputs=OUTPUTS, **settings):
    """The losses and metrics of one epoch of batches of two, with steps so small that no weight changes."""
    spec = replace(small.SMALL, build=functools.partial(build, outputs=outputs), outputs=outputs)
    settings = {"batch_size": 2, "epochs": 1, "learning_rate": 1e-12, "output_bias": "zero", **settings}
    return train(spec, data_dir=root, checkpoint_path=folder, **settings).logs


def exact(root, weights, outputs=OUTPUTS):
    """The same from all images at once, by NumPy."""
    model, logs = build(small.INPUT.shape, outputs), {}
    load(model, weights)
    for split, count in COUNTS.items():
        total, prefix = 0, "val_" if split == "valid" else ""

        def images(folder):
            return np.stack([read_input(root / folder / f"img{i + 1}.png", small.INPUT) for i in range(count)])  # noqa: B023

        predictions = model.predict_on_batch(images(split))
        for output, predicted in zip(outputs, predictions if len(outputs) > 1 else [predictions]):
            name = f"{prefix}{output.name}_" if len(outputs) > 1 else prefix
            if output.target == "frame":
                frames = images(f"jnd1{split}")
                logs[f"{name}loss"] = np.square(predicted - frames).mean()
                logs[f"{name}mae"] = np.abs(predicted - frames).mean()
                for metric in ("psnr", "ssim"):
                    logs[f"{name}{metric}"] = np.mean(FUNCTIONS[metric](frames, predicted))
            else:
                labels = LABELS[:count, LEVELS.index(output.level)]
                logs[f"{name}loss"] = np.abs(predicted[:, 0] - labels).mean()
            total += (output.weight if len(outputs) > 1 else 1) * logs[f"{name}loss"]
        logs[f"{prefix}loss"] = total
    return logs


@pytest.fixture(scope="module")
def root(rootdir, tmp_path_factory):
    root = tmp_path_factory.mktemp("odd") / "root"
    shutil.copytree(rootdir, root)
    (root / "train" / "img6.png").unlink()
    for split, count in COUNTS.items():
        write_labels(root / split, [f"img{i + 1}.png" for i in range(count)], LABELS[:count])
    return root


@pytest.mark.parametrize("outputs", [OUTPUTS, OUTPUTS[:1], OUTPUTS[1:2]], ids=["four", "frame", "level"])
@pytest.mark.parametrize("cache", [None, "off"])
def test_on_one_device(cache, outputs, root, tmp_path, capsys):
    logs = learn(root, tmp_path, outputs, feature_cache=cache)
    expected = exact(root, tmp_path / "Best.h5", outputs)
    assert logs == pytest.approx(expected, rel=1e-4) and set(small.log_of(tmp_path)) == {"epoch", *expected}
    if len(outputs) > 1:
        assert f"JND1: error on valid {expected['val_JND1_output_loss']:.2f} QP" in capsys.readouterr().out


PROGRAM = """
import json, sys
from pathlib import Path
from training.test_exact_errors import learn
root, folder, settings = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
print(json.dumps([learn(root, folder, feature_cache=c, overwrite=True, **settings) for c in (None, "off")]))
"""


@pytest.mark.parametrize(
    ("backend", "settings"), [("tensorflow", {"devices": "CPU:0,CPU:1"}), ("jax", {}), ("torch", {})]
)
def test_on_several_devices_and_other_backends(backend, settings, root, tmp_path, run):
    if not find_spec(backend):
        pytest.skip(backend)
    path = os.pathsep.join([str(PROJECT / "tests"), *sys.path])
    done = run("-c", PROGRAM, root, tmp_path, json.dumps(settings), KERAS_BACKEND=backend, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    for logs in json.loads(done.stdout.splitlines()[-1]):
        assert logs == pytest.approx(exact(root, tmp_path / "Best.h5"), rel=1e-4)
