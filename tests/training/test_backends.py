"""Training on the backends of Keras besides TensorFlow, where they are installed.

A start of a backend takes seconds, so that one process does all that is asked of it.
"""

import json
import os
import shutil
import sys
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import small
from conftest import PROJECT
from skimage import data, metrics
from small import log_of

from common.core.errors import UserError
from common.models.losses import FUNCTIONS
from common.training import devices

BACKENDS = [pytest.param(name, marks=pytest.mark.skipif(not find_spec(name), reason=name)) for name in ("jax", "torch")]
PROGRAM = """
import json, sys
from pathlib import Path
import keras
import numpy as np
import small
from common.core.errors import UserError
from common.models import attention_decoder
from common.models.losses import FUNCTIONS
root, folder = map(Path, sys.argv[1:])
small.train(root, folder / "resumed", build=small.build_alike, epochs=4, resume=True, feature_cache="off")
small.train(root, folder / "own", epochs=2, precision="mixed_bfloat16", accumulate=2)
try:
    small.train(root, folder / "random", resume=True)
except UserError as error:
    print(error, file=sys.stderr)
with np.load(folder / "pairs.npz") as pairs:
    values = {name: np.asarray(FUNCTIONS[name](*pairs.values())).tolist() for name in ("psnr", "ssim")}
flat = np.broadcast_to(np.float32([0.01, 3.1, 30.1, 301.7]), (1, 33, 60, 4))
image = keras.Input(flat.shape[1:])
norm = keras.Model(image, attention_decoder._conv_norm_relu(image, 1, "va"))
values["norm"] = float(np.abs(norm.predict_on_batch(flat)).max())
print(json.dumps(values))
"""


@pytest.fixture(scope="module")
def pairs():
    """Two photographs and what is left of them with every 24th value: float32 (2, 176, 256, 3) each."""
    true = np.stack([photograph[:176, :256] for photograph in (data.astronaut(), data.coffee())])
    return true.astype("float32"), (true // 24 * 24 + 12).astype("float32")


@pytest.fixture(scope="module")
def whole(rootdir, tmp_path_factory):
    """The folder of a training of five epochs on TensorFlow alone; "two" is how it was after two."""
    folder = tmp_path_factory.mktemp("whole")
    small.train(rootdir, folder / "two", build=small.build_alike, epochs=2)
    shutil.copytree(folder / "two", folder / "five")
    small.train(rootdir, folder / "five", build=small.build_alike, epochs=5, resume=True)
    small.train(rootdir, folder / "random", epochs=1)
    return folder


def assert_scikit_image_agrees(values, pairs):
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 2}
    psnr = [metrics.peak_signal_noise_ratio(*pair, data_range=255) for pair in zip(*pairs)]
    ssim = [metrics.structural_similarity(*pair, data_range=255, **settings) for pair in zip(*pairs)]
    np.testing.assert_allclose(values["psnr"], psnr, rtol=1e-5)
    np.testing.assert_allclose(values["ssim"], ssim, rtol=1e-4)


def test_psnr_and_ssim_are_scikit_images(pairs):
    assert_scikit_image_agrees({name: np.asarray(FUNCTIONS[name](*pairs)) for name in ("psnr", "ssim")}, pairs)


@pytest.mark.parametrize("names", ["all", "CPU:0,CPU:1"])
def test_several_devices_are_tensorflows(names, rootdir, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "backend_name", lambda: "jax")
    monkeypatch.setattr(devices, "visible", lambda: ["gpu:0", "gpu:1"])
    with pytest.raises(UserError, match=f"--devices {names}: jax .*trains on one device; leave --devices out, or"):
        small.train(rootdir, tmp_path, devices=names)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_training_goes_on_on_another_backend_and_back(backend, whole, pairs, rootdir, tmp_path, run):
    shutil.copytree(whole / "two", tmp_path / "resumed")
    shutil.copytree(whole / "random", tmp_path / "random")
    np.savez(tmp_path / "pairs.npz", *pairs)
    path = os.pathsep.join([str(PROJECT / "tests"), *sys.path])
    done = run("-c", PROGRAM, rootdir, tmp_path, KERAS_BACKEND=backend, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout.splitlines()[-1])
    assert_scikit_image_agrees(values, pairs)
    assert values["norm"] < 0.1  # of flat channels; not NaN
    refused = f"was trained on tensorflow, not {backend}, with other frozen weights; train anew with --overwrite"
    assert refused in done.stderr and len(done.stderr.splitlines()) == 1

    record = json.loads((tmp_path / "resumed" / "run.json").read_text())
    assert backend in record["versions"] and record["epochs"] == 4 and record["device"] == ["cpu:0"]
    pd.testing.assert_frame_equal(log_of(tmp_path / "resumed"), log_of(whole / "five")[:4], rtol=1e-3)
    own = log_of(tmp_path / "own")
    assert len(own) == 2 and (own["val_loss"] < 5).all()

    small.train(rootdir, tmp_path / "resumed", build=small.build_alike, epochs=5, resume=True)
    pd.testing.assert_frame_equal(log_of(tmp_path / "resumed"), log_of(whole / "five"), rtol=1e-3)
