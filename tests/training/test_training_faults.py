"""What every training does when it goes wrong, and when it is asked for what it can, or cannot, do."""

import errno
import functools
import json
import shutil
import sys
from collections import namedtuple

import keras
import numpy as np
import pytest
import small
from small import assert_same, log_of, weights_of

from common.core import locks
from common.core.errors import UserError
from common.models.backbones import build_network
from common.training import checks, runs
from common.training.config import TrainingConfig

# --- what goes wrong


def config(**settings):
    return TrainingConfig(data_dir="root", checkpoint_path="folder", **{"batch_size": 8, **settings})


def dead(shape):
    model = small.build(shape)
    model.get_layer("JND_output").bias.assign([-1e6])
    return model


def seven(shape):
    return small.build(shape, lambda x: 0 * x + 7)


@pytest.mark.parametrize(
    ("build", "answer"),
    [
        (dead, "0 for every image, a dead ReLU unit"),
        (seven, "7 for every image"),
    ],
)
def test_one_answer_for_all_is_tried_with_other_seeds_and_said(build, answer, rootdir, tmp_path, capsys):
    with pytest.raises(UserError) as error:
        small.train(rootdir, tmp_path, build=build)
    assert str(error.value).startswith(f"epoch 1: JND_output is {answer}, as with 3 other seeds; lower --learn")
    said = capsys.readouterr().err
    assert [f"seed {seed}" in said for seed in range(5)] == [False, True, True, True, False]
    assert len(log_of(tmp_path)) == 1 and not (tmp_path / "Best.h5").exists()
    assert json.loads((tmp_path / "run.json").read_text())["status"].startswith("failed: epoch 1: JND_output is")


def test_a_seed_that_is_not_dead_is_found_and_resumed(rootdir, tmp_path, capsys):
    built = []

    def once_dead(shape):
        built.append(small.build(shape) if built else dead(shape))
        return built[-1]

    small.train(rootdir, tmp_path, epochs=2, build=once_dead)
    assert "a dead ReLU unit; starts again with seed 1" in capsys.readouterr().err
    assert json.loads((tmp_path / "run.json").read_text())["seed"] == 1
    small.train(rootdir, tmp_path, epochs=3, resume=True)
    small.train(rootdir, tmp_path / "one", epochs=3, seed=1)
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
        small.train(rootdir, tmp_path, loss=Spoil())
    assert str(error.value).startswith("epoch 3: the loss is nan") and epochs == [0, 1, 2]
    assert f"is kept in {tmp_path / 'Best.h5'}; lower --learning_rate" in str(error.value)
    assert all(np.isfinite(array).all() for array in weights_of(tmp_path))


def test_weights_that_became_nan_are_not_kept(rootdir, tmp_path):
    """A ReLU makes 0 of NaN, so that the loss alone looks sound."""

    def relu(x):
        x = keras.ops.where(x > 0, x, 0.0)
        return x + keras.ops.sqrt(0 * x)  # whose gradient is NaN

    line = r"epoch 1: the loss is \d\S+, on valid \d\S+, but weights are NaN; no epoch was kept; lower --learning_rate"
    with pytest.raises(UserError, match=line):
        small.train(rootdir, tmp_path, build=functools.partial(small.build, activation=relu))
    assert not (tmp_path / "Best.h5").exists()


# --- a full disk


def test_a_disk_too_small_for_state_and_checkpoint_is_said_before_anything_is_written(rootdir, tmp_path, monkeypatch):
    usage, free = namedtuple("usage", "total used free"), 0
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, free))
    with pytest.raises(UserError, match=r"second: the best weights and the state .* take [\d.]+ MB, .* are free; make"):
        small.train(rootdir, tmp_path / "second")
    assert not (tmp_path / "second").exists()

    million = np.zeros((1000, 1000))  # 4 MB as float32, so 4 and 12 and, while a new state is written, 12
    written = {tmp_path / "Best.h5": [million], tmp_path / "state.npz": 3 * [million]}
    for there, need in (0, 29), (5, 24):
        (tmp_path / "state.npz").write_bytes(bytes(there * 10**6))
        free = need * 10**6
        checks.check_disk(written)
        free -= 1
        with pytest.raises(UserError, match=rf"take {need}\.0 MB"):
            checks.check_disk(written)


def test_a_full_disk_leaves_the_state_before_it(rootdir, tmp_path, monkeypatch):
    save = runs.save_state

    def full(path, arrays, facts):
        if facts["epoch"] == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save(path, arrays, facts)

    monkeypatch.setattr(runs, "save_state", full)
    monkeypatch.setattr(runs.Throttled, "__call__", lambda self, *arguments: self.action(*arguments))
    with pytest.raises(UserError, match=r"state.npz: No space left .*; the best epoch so far, .*; go on with --res"):
        small.train(rootdir, tmp_path, epochs=3)
    monkeypatch.undo()
    small.train(rootdir, tmp_path, epochs=3, resume=True)
    small.train(rootdir, tmp_path / "whole", epochs=3)
    assert_same(tmp_path, tmp_path / "whole")


# --- flags


def no_dropout(shape):
    model = small.build(shape)
    level = model.get_layer("JND_output")(model.get_layer(index=3).output)
    return keras.Model(model.input, level)


def test_accumulated_batches_learn_like_a_large_one(rootdir, tmp_path):
    folders = [tmp_path / name for name in ("large", "small", "alone")]
    for folder, size, accumulate in zip(folders, (6, 3, 3), (1, 2, 1)):
        small.train(rootdir, folder, epochs=4, batch_size=size, accumulate=accumulate, build=no_dropout)
    large, accumulated, alone = (log_of(folder)["val_loss"] for folder in folders)
    np.testing.assert_allclose(accumulated, large, rtol=1e-4)
    assert not np.allclose(alone, large, rtol=1e-2)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_keeps_float32_weights(precision, rootdir, tmp_path):
    small.train(rootdir, tmp_path, precision=precision, epochs=2, build=no_dropout)
    small.train(rootdir, tmp_path / "float32", epochs=2, build=no_dropout)
    assert np.allclose(log_of(tmp_path), log_of(tmp_path / "float32"), rtol=0.1)
    assert not np.allclose(log_of(tmp_path), log_of(tmp_path / "float32"), rtol=1e-6)
    assert {array.dtype for array in weights_of(tmp_path)} == {np.dtype("float32")}
    assert keras.config.dtype_policy().name == "float32"  # as before


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ("GPU:6,GPU:7", r"--devices GPU:6,GPU:7: GPU:6, GPU:7 is not there; TensorFlow sees CPU:0"),
        ("CPU:0,CPU:1,CPU:2", "CPU:1, CPU:2 is not there"),
    ],
)
def test_a_device_that_is_not_there_is_said(names, line, rootdir, tmp_path):
    with pytest.raises(UserError, match=line):
        small.train(rootdir, tmp_path, devices=names)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"batch_size": 3}, "--batch_size 3: expected a multiple of the 2 devices"),
        ({"accumulate": 2}, "--accumulate 2: runs on one device only"),
        ({"precision": "mixed_float16"}, "--precision mixed_float16: runs on one device only"),
    ],
)
def test_what_does_not_go_with_several_devices_is_said(settings, line, monkeypatch):
    import tensorflow as tf

    from common.training import devices

    device = namedtuple("device", "name")
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda: [device("/device:GPU:0"), device("/device:GPU:1")])
    with pytest.raises(UserError, match=line):
        devices.strategy(config(devices="all", **settings))


def test_tensorboard_gets_the_losses_or_one_line_says_what_is_missing(rootdir, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match="--tensorboard needs a package .*: pip install tensorboard"):
        small.train(rootdir, tmp_path / "without", tensorboard=tmp_path / "board")
    monkeypatch.undo()
    pytest.importorskip("tensorboard")
    small.train(rootdir, tmp_path / "with", epochs=1, tensorboard=tmp_path / "board")
    assert list((tmp_path / "board").rglob("events*"))


def test_a_batch_that_does_not_fit_in_memory_is_refused_with_what_would_fit(monkeypatch):
    from E2EREC import E2EREC

    network = build_network(E2EREC)
    need = {size: checks.needed_memory(network, size) for size in (1, 2, 8)}
    assert need[1] < need[2] < need[8]
    for free, line in (
        (need[8], None),
        (need[2], r"E2E-REC takes about \d+ GB at --batch_size 8, .*; --batch_size 2 --accumulate 4 takes \d+ GB"),
        (need[1] - 1, r"one image at a time takes \d+ GB"),
    ):
        monkeypatch.setattr(checks, "available_memory", lambda: free)  # noqa: B023
        if line is None:
            checks.check_memory("E2E-REC", network, config(batch_size=8))
            continue
        with pytest.raises(UserError, match=line):
            checks.check_memory("E2E-REC", network, config(batch_size=8))


# --- what a second program, a picture or a flag could spoil


def test_a_second_training_into_the_same_files_is_refused(rootdir, tmp_path):
    for lock in (".lock", ".lock-logs.csv"):  # of the checkpoint, and of a log that may lie elsewhere
        with (
            locks.exclusive_lock(tmp_path / lock),
            pytest.raises(UserError, match="another training writes these files now"),
        ):
            small.train(rootdir, tmp_path)
    assert small.train(rootdir, tmp_path, epochs=1).epoch == 1


def test_curves_that_cannot_be_drawn_end_no_training(rootdir, tmp_path, capsys):
    (tmp_path / "curves.png").mkdir()
    assert small.train(rootdir, tmp_path, epochs=1).epoch
    assert "curves.png: not drawn" in capsys.readouterr().err


def test_accumulating_more_than_there_is_is_refused(rootdir, tmp_path):
    with pytest.raises(UserError, match="--accumulate 25: more than all 24 batches"):
        small.train(rootdir, tmp_path, accumulate=25)


def test_patience_says_that_it_stopped(rootdir, tmp_path, capsys):
    best = small.train(rootdir, tmp_path, patience=1, epochs=99)
    assert f"stops after epoch {best.epoch + 1}: none was better than {best.epoch}'s" in capsys.readouterr().out
