"""What every training does when it is told to stop, goes wrong, or is asked for what it cannot do."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple

import keras
import numpy as np
import pandas as pd
import pytest
import small
from conftest import PROJECT

from common import features, memory, weights
from common.errors import UserError
from common.images import write_png


def log_of(folder):
    return pd.read_csv(folder / "logs.csv", sep=";")


def weights_of(folder):
    model, _ = small.build()
    weights.load(model, folder / "Best.h5")
    return model.get_weights()


def assert_same(folder, other):
    pd.testing.assert_frame_equal(log_of(folder), log_of(other), rtol=1e-5)
    for arrays in zip(weights_of(folder), weights_of(other), strict=True):
        np.testing.assert_allclose(*arrays, rtol=1e-5)


@pytest.fixture(scope="module")
def whole(rootdir, tmp_path_factory):
    """The folder of a training of eight epochs that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    small.train(rootdir, folder)
    return folder


# --- stopped, killed, resumed


def start(root, folder, *flags, before=""):
    """The program that trains small.py's network, as a process of its own."""
    call = f"small.train(Path({str(root)!r}), Path({str(folder)!r}), *{[str(flag) for flag in flags]}) and 0"
    program = f"import os, signal\nfrom pathlib import Path\n{before}\nfrom common import cli\n"
    program += f"def main():\n    import small\n    return {call}\ncli.run(main)"
    path = os.pathsep.join([str(PROJECT), str(PROJECT / "tests")])
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, **how)


KILL = """
replace, seen = os.replace, []
def deadly(source, target):
    seen.append(os.path.basename(target))
    if seen.count({name!r}) == {times}:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = deadly
"""


def test_a_kill_between_any_two_files_loses_nothing(whole, rootdir, tmp_path):
    """Killed with half of the features there, at the first checkpoint, at the second state."""
    features_of_valid = sorted(path.name for path in (whole / "features").iterdir())[-1]
    for name, times in ((features_of_valid, 1), ("Best.h5", 1), ("state.npz", 2)):
        program = start(rootdir, tmp_path, "--resume", before=KILL.format(name=name, times=times))
        printed, said = program.communicate(timeout=100)
        assert program.returncode == -signal.SIGKILL, printed + said
        assert not (tmp_path / "features" / features_of_valid).exists() or name != features_of_valid
    small.train(rootdir, tmp_path, "--resume")
    assert_same(tmp_path, whole)
    assert not list(tmp_path.rglob(".part-*"))


def test_a_terminated_training_says_what_is_kept(rootdir, tmp_path):
    with start(rootdir, tmp_path, "--epochs", 10_000) as program:
        for line in program.stdout:
            if line.startswith("epoch 2/"):
                program.send_signal(signal.SIGTERM)
        assert program.wait() == 143
        assert f"is kept in {tmp_path / 'Best.h5'}; go on with --resume" in program.stderr.read()
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "interrupted"


def test_more_epochs_go_on_and_a_worse_one_does_not_replace_the_best(whole, rootdir, tmp_path, capsys):
    small.train(rootdir, tmp_path, "--epochs", 3, "--resume")
    assert "nothing to resume; starts from the first epoch" in capsys.readouterr().out
    best, kept = log_of(whole)["val_loss"].idxmin() + 1, (tmp_path / "Best.h5").read_bytes()
    assert best <= 3  # all that follows is worse
    picture = (tmp_path / "curves.png").read_bytes()
    assert small.train(rootdir, tmp_path, "--resume").epoch == best
    assert "goes on after epoch 3 of 8" in capsys.readouterr().out
    assert_same(tmp_path, whole)
    assert (tmp_path / "Best.h5").read_bytes() == kept
    longer = (tmp_path / "curves.png").read_bytes()
    assert longer.startswith(b"\x89PNG") and longer != picture

    assert small.train(rootdir, tmp_path, "--resume").epoch == best  # nothing left to do
    assert_same(tmp_path, whole)
    (tmp_path / "Best.h5").unlink()
    with pytest.raises(UserError, match=r"Best\.h5: not the best epoch of the training that .*state\.npz"):
        small.train(rootdir, tmp_path, "--resume")


def test_patience_counts_on_after_a_resume(whole, rootdir, tmp_path):
    best = log_of(whole)["val_loss"].idxmin()
    small.train(rootdir, tmp_path, "--epochs", best + 2, "--patience", 3)
    small.train(rootdir, tmp_path, "--patience", 3, "--resume")
    pd.testing.assert_frame_equal(log_of(tmp_path), log_of(whole)[: best + 4], rtol=1e-5)


def test_an_earlier_trainings_lines_stay_in_the_log(whole, rootdir, tmp_path):
    """Also where a resumed training has none of its own yet."""
    shutil.copyfile(whole / "logs.csv", tmp_path / "logs.csv")
    with pytest.raises(KeyboardInterrupt):
        small.train(rootdir, tmp_path, compile=lambda: {"loss": interrupting})
    small.train(rootdir, tmp_path, "--epochs", 2, "--resume")
    assert list(log_of(tmp_path)["epoch"]) == [*range(8), 0, 1]
    small.train(rootdir, tmp_path, "--epochs", 1, "--overwrite")
    assert list(log_of(tmp_path)["epoch"]) == [0]


def interrupting(labels, answers):
    raise KeyboardInterrupt


def test_a_resume_of_something_else_is_refused_in_one_line(whole, rootdir, tmp_path):
    folder, root = tmp_path / "mine", tmp_path / "root"
    shutil.copytree(whole, folder)
    before = {path: path.read_bytes() for path in folder.glob("*.*")}

    def refused(line, *flags, root=rootdir, build=small.build):
        with pytest.raises(UserError, match=line) as error:
            small.train(root, folder, "--resume", *flags, build=build)
        assert "\n" not in str(error.value)
        assert {path: path.read_bytes() for path in before} == before

    refused(r"state.npz: was trained with --learning_rate 0.01, not 0.02; resume", "--learning_rate", 0.02)
    refused("was trained with --seed 0, not 1", "--seed", 1)
    shutil.copytree(rootdir, root)
    write_png(root / "train" / "img2.png", np.zeros((180, 320, 3), np.uint8))
    refused("was trained with other pictures or labels", root=root)
    shutil.copyfile(rootdir / "train" / "img2.png", root / "train" / "img2.png")
    (root / "valid" / "JND-Levels.txt").write_text("1 2 3\n2 3 4\n3 4 5\n")
    refused("was trained with other pictures or labels", root=root)

    def other_frozen():
        model, kept = small.build()
        model.get_layer("frozen").set_weights([2 * array for array in model.get_layer("frozen").get_weights()])
        return model, kept

    refused("was trained with other frozen weights", build=other_frozen)
    (folder / "state.npz").write_bytes(before.pop(folder / "state.npz")[:5000])
    refused(r"state\.npz: no state of a training")


# --- what goes wrong


def dead():
    return small.build(bias=-1e6)


@pytest.mark.parametrize(
    ("build", "answer"),
    [
        (dead, "0 for every picture, a dead ReLU unit"),
        (lambda: small.build(7, lambda x: 0 * x + 7), "7 for every picture"),
    ],
)
def test_one_answer_for_all_is_tried_with_other_seeds_and_said(build, answer, rootdir, tmp_path, capsys):
    with pytest.raises(UserError) as error:
        small.train(rootdir, tmp_path, build=build)
    assert str(error.value).startswith(f"epoch 1: JND_output answers {answer}, as with 3 other seeds; lower --learn")
    said = capsys.readouterr().err
    assert [f"seed {seed}" in said for seed in range(5)] == [False, True, True, True, False]
    assert len(log_of(tmp_path)) == 1 and not (tmp_path / "Best.h5").exists()
    assert json.loads((tmp_path / "run.json").read_text())["status"].startswith("failed: epoch 1: JND_output answers")


def test_a_seed_that_is_not_dead_is_found_and_resumed(rootdir, tmp_path, capsys):
    built = []

    def once_dead():
        built.append(dead() if not built else small.build())
        return built[-1]

    small.train(rootdir, tmp_path, "--epochs", 2, build=once_dead)
    assert "a dead ReLU unit; starts anew with seed 1" in capsys.readouterr().err
    assert json.loads((tmp_path / "run.json").read_text())["seed"] == 1
    small.train(rootdir, tmp_path, "--resume")
    small.train(rootdir, tmp_path / "one", "--seed", 1)
    assert_same(tmp_path, tmp_path / "one")


def test_nan_stops_and_the_best_epoch_before_it_is_kept(rootdir, tmp_path):
    epochs = []

    class Spoil(keras.losses.Loss):
        """NaN from the third epoch on."""

        def call(self, labels, answers):
            return keras.ops.mean(keras.ops.abs(labels - answers)) * spoiled

    spoiled = keras.Variable(1.0, trainable=False)
    end = keras.callbacks.CSVLogger.on_epoch_end

    def spoil(self, epoch, logs=None):
        end(self, epoch, logs)
        epochs.append(epoch)
        if epoch == 1:
            spoiled.assign(float("nan"))

    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError) as error:
        patch.setattr(keras.callbacks.CSVLogger, "on_epoch_end", spoil)
        small.train(rootdir, tmp_path, compile=lambda: {"loss": Spoil()})
    assert str(error.value).startswith("epoch 3: the loss is nan") and epochs == [0, 1, 2]
    assert f"is kept in {tmp_path / 'Best.h5'}; lower --learning_rate" in str(error.value)
    assert all(np.isfinite(array).all() for array in weights_of(tmp_path))


# --- features on the disk


def test_too_little_room_for_features_is_said_before_they_are_computed(rootdir, tmp_path, monkeypatch):
    usage, free = namedtuple("usage", "total used free"), 4 * 7 * 7 * 4 * (6 + 3) - 1  # 7 x 7 x 4 numbers a picture
    monkeypatch.setattr(features.shutil, "disk_usage", lambda path: usage(10**9, 10**9, free))
    monkeypatch.setattr(features, "predict", None)
    with pytest.raises(
        UserError, match=r"features: the features of the frozen layers take 0\.0 GB, .*--feature_cache"
    ) as error:
        small.train(rootdir, tmp_path)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_what_changes_in_training_is_not_kept():
    """A Dropout, and a normalization without weights, have no weight that learns and yet are not frozen."""
    picture = keras.Input((4, 4, 3))
    for layer in (keras.layers.Dropout(0.5), keras.layers.BatchNormalization(center=False, scale=False)):
        frozen = keras.layers.Rescaling(2.0)
        model = keras.Model(picture, layer(frozen(picture)))
        assert layer not in features.frozen_layers(model) and frozen in features.frozen_layers(model)


# --- flags


def no_dropout():
    model, _ = small.build()
    level = model.get_layer("JND_output")(model.get_layer(index=3).output)
    return (model := keras.Model(model.input, level)), model


def test_accumulated_batches_learn_like_a_large_one(rootdir, tmp_path):
    folders = [tmp_path / name for name in ("large", "small", "alone")]
    for folder, flags in zip(folders, ((6,), (3, "--accumulate", 2), (3,))):
        small.train(rootdir, folder, "--epochs", 4, "--batch_size", *flags, build=no_dropout)
    large, accumulated, alone = (log_of(folder)["val_loss"] for folder in folders)
    np.testing.assert_allclose(accumulated, large, rtol=1e-4)
    assert not np.allclose(alone, large, rtol=1e-2)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_keeps_float32_weights(precision, rootdir, tmp_path):
    small.train(rootdir, tmp_path, "--precision", precision, "--epochs", 2, build=no_dropout)
    small.train(rootdir, tmp_path / "float32", "--epochs", 2, build=no_dropout)
    assert np.allclose(log_of(tmp_path), log_of(tmp_path / "float32"), rtol=0.1)
    assert not np.allclose(log_of(tmp_path), log_of(tmp_path / "float32"), rtol=1e-6)
    assert {array.dtype for array in weights_of(tmp_path)} == {np.dtype("float32")}
    assert keras.config.dtype_policy().name == "float32"  # as before


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--devices", "GPU:7"), r"--devices GPU:7: GPU:7 is not there; TensorFlow sees CPU:0"),
        (("--devices", "CPU:0,CPU:1,CPU:2"), "CPU:1, CPU:2 is not there"),
    ],
)
def test_a_device_that_is_not_there_is_said(flags, line, rootdir, tmp_path):
    with pytest.raises(UserError, match=line):
        small.train(rootdir, tmp_path, *flags)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--batch_size", 3), "--batch_size 3: expected a multiple of the 2 devices"),
        (("--accumulate", 2), "--accumulate 2: runs on one device only"),
        (("--precision", "mixed_float16"), "--precision mixed_float16: runs on one device only"),
    ],
)
def test_what_does_not_go_with_several_devices_is_said(flags, line, monkeypatch):
    import tensorflow as tf

    from common import devices

    device = namedtuple("device", "name")
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda: [device("/device:GPU:0"), device("/device:GPU:1")])
    with pytest.raises(UserError, match=line):
        devices.strategy(small.options("--devices", "all", *flags))


def test_tensorboard_gets_the_losses_or_one_line_says_what_is_missing(rootdir, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match="--tensorboard needs a package .*: pip install tensorboard"):
        small.train(rootdir, tmp_path / "without", "--tensorboard", tmp_path / "board")
    monkeypatch.undo()
    pytest.importorskip("tensorboard")
    small.train(rootdir, tmp_path / "with", "--epochs", 1, "--tensorboard", tmp_path / "board")
    assert list((tmp_path / "board").rglob("events*"))


def test_a_batch_that_does_not_fit_in_memory_is_refused_with_what_would_fit(monkeypatch):
    from common import scripts
    from E2EREC import E2EREC

    network = scripts.build(E2EREC, 1, [None])
    need = {size: memory.needed(network, size) for size in (1, 2, 8)}
    assert need[1] < need[2] < need[8]
    for free, line in (
        (need[8], None),
        (need[2], r"E2E-REC takes about \d+ GB at --batch_size 8, .*; --batch_size 2 --accumulate 4 takes \d+ GB"),
        (need[1] - 1, r"one picture at a time takes \d+ GB"),
    ):
        monkeypatch.setattr(memory, "available", lambda: free)  # noqa: B023
        if line is None:
            memory.check("E2E-REC", network, None, small.options("--batch_size", 8))
            continue
        with pytest.raises(UserError, match=line):
            memory.check("E2E-REC", network, None, small.options("--batch_size", 8))
