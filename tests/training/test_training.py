"""`LAT.py train` as a user leaves it alone overnight: kept features, stops and resumes, other sizes and devices."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import PROJECT

from common.cli import script
from common.core.errors import UserError
from LAT import LAT

EPOCHS, LEARNING_RATE = 6, 1e-5  # the paper's
SIZE = ("--input_size", 64, 64)  # the smallest, for tests that end today


def flags(root, files, folder, *more):
    where = ["--data_dir", root, "--JND_Recon_Models_Path", files, "--checkpoint_path", folder, "--csv_log_path"]
    where += [folder, "--epochs", EPOCHS, "--batch_size", 2]
    return [str(part) for part in ("train", "--jnd_value", "JND1", *where, *SIZE, *more)]


def train(*arguments):
    """Call the command line inside this process and return what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert script.run_script("", LAT, arguments=flags(*arguments)) == 0
    return printed.getvalue()


def stop(number, epoch, *arguments):
    """Run LAT.py as a user does and send it a signal when the line of this epoch appears: (code, stderr)."""
    command = [sys.executable, "LAT.py", *flags(*arguments)]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=PROJECT, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, **how) as program:
        for line in program.stdout:
            if line.startswith(f"epoch {epoch}/"):
                program.send_signal(number)
        return program.wait(), program.stderr.read()


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


def test_ctrl_c_and_a_shutdown_lose_nothing(whole, data, tmp_path):
    """Stopped after the second epoch and after the fourth, finished in another process: as if nothing happened."""
    code, said = stop(signal.SIGINT, 2, *data, tmp_path)
    assert code == 130
    assert f"epoch so far, {best_of(tmp_path)}, is kept in {tmp_path / 'BestModelJND1.h5'}; go on with --resume" in said
    assert "Traceback" not in said and json.loads((tmp_path / "runJND1.json").read_text())["status"] == "interrupted"

    code, said = stop(signal.SIGTERM, 4, *data, tmp_path, "--resume")
    assert code == 143 and "go on with --resume" in said
    printed = train(*data, tmp_path, "--resume")
    assert f"of {EPOCHS}; best so far: epoch" in printed and "epoch 1/" not in printed
    assert_same(tmp_path, whole)
    assert best_of(tmp_path) == best_of(whole) == log_of(whole)["val_loss"].idxmin() + 1
    assert len(json.loads((tmp_path / "runJND1.json").read_text())["resumed"]) == 2
    assert not list(tmp_path.rglob(".part-*"))


def best_of(folder):
    """The epoch whose weights are the checkpoint, as the record says."""
    return json.loads((folder / "runJND1.json").read_text())["best"]["epoch"]


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


def test_two_devices_give_the_losses_of_one(whole, data, tmp_path, run):
    """Also where the last batch, of one picture, has nothing for the second."""
    done = run("LAT.py", *flags(*data, tmp_path, "--epochs", 2, "--devices", "CPU:0,CPU:1"))
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(log_of(tmp_path), log_of(whole)[:2], rtol=1e-5)
    for kept in (whole / "features").iterdir():  # each device computing all of them would write twice the rows
        np.testing.assert_allclose(np.load(kept), np.load(tmp_path / "features" / kept.name), rtol=1e-4, atol=1e-4)
        assert kept.stat().st_size == (tmp_path / "features" / kept.name).stat().st_size


def test_bfloat16_trains_and_keeps_float32_weights(whole, data, tmp_path):
    train(*data, tmp_path, "--precision", "mixed_bfloat16", "--epochs", 1)
    log = log_of(tmp_path)
    np.testing.assert_allclose(log["loss"], log_of(whole)["loss"][:1], rtol=0.1)
    assert not np.allclose(log["loss"], log_of(whole)["loss"][:1], rtol=1e-6)
    assert {array.dtype for array in weights_of(tmp_path)} == {np.dtype("float32")}
    where = ["--data_dir", data[0], "--model_weights_path", tmp_path, "--result_path", tmp_path, *SIZE]
    assert script.run_script("", LAT, arguments=[str(part) for part in ("test", "--jnd_value", "JND1", *where)]) == 0
