"""`LAT.py train`: kept features, the record, another size, bfloat16; of the loop there is more in the files beside."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest

from common.cli import script
from common.core.errors import UserError
from LAT import LAT

EPOCHS, LEARNING_RATE = 2, 1e-5  # the paper's
SIZE = ("--input_size", 64, 64)  # the smallest, for tests that end today


def flags(root, files, folder, *more):
    where = ["--data_dir", root, "--JND_Recon_Models_Path", files, "--checkpoint_path", folder, "--csv_log_path"]
    where += [folder, "--epochs", EPOCHS, "--batch_size", 2]
    return [str(part) for part in ("train", "--jnd_value", "JND1", *where, *SIZE, *more)]


def train(*arguments):
    assert script.run_script("", LAT, arguments=flags(*arguments)) == 0


def log_of(folder):
    return pd.read_csv(folder / "logsJND1.csv", sep=";")


def state_of(folder):
    with np.load(folder / "stateJND1.npz") as file:
        return [file[name] for name in file.files[1:]]


def weights_of(folder):
    with h5py.File(folder / "BestModelJND1.h5") as file:
        arrays = []
        file.visititems(lambda _, item: arrays.append(item[()]) if isinstance(item, h5py.Dataset) else None)
        return arrays


def assert_same(folder, other):
    """Two trainings are alike: epoch by epoch, in the best weights, in the state that they end with.

    Weights differ by less than half of one step of Adam.  The scale is that of a step, because a bias in front of
    BatchNormalization changes nothing: its gradient is rounding noise, other noise on another processor, and Adam makes
    whole steps of it.
    """
    pd.testing.assert_frame_equal(log_of(folder), log_of(other), rtol=1e-5)
    for arrays in (*zip(weights_of(folder), weights_of(other)), *zip(state_of(folder), state_of(other), strict=True)):
        np.testing.assert_allclose(*arrays, rtol=1e-5, atol=LEARNING_RATE / 2)


@pytest.fixture(scope="module")
def data(rootdir, weight_files):
    return rootdir, weight_files


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The folder of a training that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    train(*data, folder)
    return folder


def test_kept_features_change_nothing(whole, data, tmp_path):
    train(*data, tmp_path, "--feature_cache", "off")
    assert not (tmp_path / "features").exists() and len(log_of(tmp_path)) == EPOCHS
    assert_same(tmp_path, whole)


def test_the_record_says_what_was_trained_on_what_with_what(whole, data):
    record = json.loads((whole / "runJND1.json").read_text())
    assert record["model"] == "LAT" and record["status"] == "finished" and record["seconds"] > 0
    assert record["arguments"]["batch_size"] == 2 and record["arguments"]["data_dir"] == str(data[0])
    assert record["seed"] == 0 and record["data"]["train_pictures"] == 6 and record["data"]["valid_pictures"] == 3
    assert set(record["data"]["digests"]) == {"train", "valid"} and record["device"]
    assert {"python", "tensorflow", "keras", "numpy"} <= set(record["versions"])
    log = log_of(whole)
    assert record["best"]["loss"] == pytest.approx(log["val_loss"].min())
    assert {"git_commit", "started", "machine", "command"} <= set(record)


def test_another_size_trains_and_is_tested_with_the_same(whole, data, tmp_path, capsys):
    root, files = data
    where = ["test", "--jnd_value", "JND1", "--data_dir", str(root), "--result_path", str(tmp_path)]
    mine, released = ([*where, "--model_weights_path", str(folder)] for folder in (whole, files))
    size = [str(part) for part in SIZE]
    assert script.run_script("", LAT, arguments=[*mine, *size]) == 0
    table = pd.read_csv(tmp_path / "JND1test_results.csv")
    assert len(table) == 3 and table["JND1"].between(10, 40).all()
    for arguments in (mine, [*released, *size]):  # released weights fit the released size only
        with pytest.raises(UserError, match=r"holds \(\d+, 256\), LAT expects \(\d+, 256\)"):
            script.run_script("", LAT, arguments=arguments)
    for wrong in ("100", "32"):
        with pytest.raises(SystemExit):
            script.run_script("", LAT, arguments=[*mine, "--input_size", wrong, "64"])
        assert f"--input_size {wrong} 64: expected at least 64, in multiples of 16" in capsys.readouterr().err


def test_bfloat16_trains_and_keeps_float32_weights(whole, data, tmp_path):
    train(*data, tmp_path, "--precision", "mixed_bfloat16", "--epochs", 1)
    log = log_of(tmp_path)
    np.testing.assert_allclose(log["loss"], log_of(whole)["loss"][:1], rtol=0.1)
    assert not np.allclose(log["loss"], log_of(whole)["loss"][:1], rtol=1e-6)
    assert {array.dtype for array in weights_of(tmp_path)} == {np.dtype("float32")}
