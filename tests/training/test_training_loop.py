"""What every training does when it is stopped or killed, and then resumed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import small
from conftest import PROJECT
from small import assert_same, log_of

from common.core.errors import UserError
from common.media.images import write_png
from common.training import loop, runs


@pytest.fixture(scope="module")
def whole(rootdir, tmp_path_factory):
    """The folder of a training of eight epochs that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    small.train(rootdir, folder)
    return folder


def start(root, folder, before="", build="build", **settings):
    """The program that trains small.py's network, as a process of its own."""
    call = f"small.train(Path({str(root)!r}), Path({str(folder)!r}), build=small.{build}, **{settings}) and 0"
    program = f"import os, signal\nfrom pathlib import Path\n{before}\nfrom common.cli.program import run\n"
    program += f"def main():\n    import small\n    return {call}\nrun(main)"
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
        program = start(rootdir, tmp_path, resume=True, before=KILL.format(name=name, times=times))
        printed, said = program.communicate(timeout=100)
        assert program.returncode == -signal.SIGKILL, printed + said
        assert not (tmp_path / "features" / features_of_valid).exists() or name != features_of_valid
    small.train(rootdir, tmp_path, resume=True)
    assert_same(tmp_path, whole)
    assert not list(tmp_path.rglob(".part-*"))


SIGNAL = """
from common.training.loop import Run
end = Run.on_epoch_end
def deadly(self, epoch, logs=None):
    end(self, epoch, logs)
    if epoch + 1 == {epoch}:
        os.kill(os.getpid(), {number})
Run.on_epoch_end = deadly
"""


def test_ctrl_c_and_a_shutdown_lose_nothing(whole, rootdir, tmp_path, capsys):
    """Stopped after the second epoch and after the fourth, finished in another process: as if nothing happened."""
    record = tmp_path / "run.json"
    for number, epoch, code in ((signal.SIGINT, 2, 130), (signal.SIGTERM, 4, 143)):
        program = start(rootdir, tmp_path, resume=True, before=SIGNAL.format(number=int(number), epoch=epoch))
        _, said = program.communicate(timeout=100)
        assert program.returncode == code and "Traceback" not in said, said
        best = json.loads(record.read_text())["best"]["epoch"]
        assert f"epoch so far, {best}, is kept in {tmp_path / 'Best.h5'}; go on with --resume" in said
        assert json.loads(record.read_text())["status"] == "interrupted"
    best = small.train(rootdir, tmp_path, resume=True)
    printed = capsys.readouterr().out
    assert "of 8; best so far: epoch" in printed and "epoch 1/" not in printed
    assert_same(tmp_path, whole)
    assert best.epoch == json.loads(record.read_text())["best"]["epoch"] == log_of(whole)["val_loss"].idxmin() + 1
    assert len(json.loads(record.read_text())["resumed"]) == 2
    assert not list(tmp_path.rglob(".part-*"))


def test_a_falling_learning_rate_goes_on_where_it_was(whole, rootdir, tmp_path):
    settings = {"decay": "cosine", "weight_decay": 0.5}
    program = start(rootdir, tmp_path, before=SIGNAL.format(number=int(signal.SIGTERM), epoch=2), **settings)
    _, said = program.communicate(timeout=100)
    assert program.returncode == 143, said
    small.train(rootdir, tmp_path, resume=True, **settings)
    falling = tmp_path / "falling"
    small.train(rootdir, falling, **settings)
    assert_same(tmp_path, falling)
    changes, constant = (np.abs(np.diff(log_of(folder)["val_loss"]))[-1] for folder in (falling, whole))
    assert changes < constant / 5  # in the last epoch of eight, the rate is near 0
    with pytest.raises(UserError, match=r"the learning rate falls until epoch 8 .*; resume with --epochs 8"):
        small.train(rootdir, tmp_path, resume=True, epochs=9, **settings)
    with pytest.raises(UserError, match="was trained with --decay cosine, not none; resume with the same"):
        small.train(rootdir, tmp_path, resume=True, weight_decay=0.5)


def test_settled_epochs_train_as_the_network_predicts(rootdir, tmp_path):
    """The moving statistics stay, what scales them learns on, and --resume in these epochs changes nothing."""
    settings = {"build": small.build_normalized, "epochs": 4, "settle": 2}
    one, two = tmp_path / "one", tmp_path / "two"
    small.train(rootdir, one, **settings)
    small.train(rootdir, tmp_path / "before", build=small.build_normalized, epochs=2)
    after, before = (runs.load_state(folder / "state.npz")[0] for folder in (one, tmp_path / "before"))
    gamma, beta, mean, variance = (np.array_equal(*arrays) for arrays in zip(after[:4], before[:4]))
    assert (gamma, beta, mean, variance) == (False, False, True, True)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        end = loop.Run.on_epoch_end

        def stop(run, epoch, logs=None):
            end(run, epoch, logs)
            if epoch == 2:  # the first of the two
                raise KeyboardInterrupt

        patch.setattr(loop.Run, "on_epoch_end", stop)
        small.train(rootdir, two, **settings)
    small.train(rootdir, two, resume=True, **settings)
    pd.testing.assert_frame_equal(log_of(one), log_of(two), rtol=1e-5)
    with pytest.raises(UserError, match=r"the statistics settle before epoch 4 .*; resume with --epochs 4"):
        small.train(rootdir, two, resume=True, **settings | {"epochs": 5})


def test_weight_decay_makes_weights_smaller(whole, rootdir, tmp_path):
    small.train(rootdir, tmp_path, weight_decay=5.0)
    sizes = [np.linalg.norm(small.weights_of(folder)[2]) for folder in (tmp_path, whole)]
    assert sizes[0] < 0.9 * sizes[1]


def test_two_devices_give_the_losses_of_one(rootdir, tmp_path):
    """Also where the last batch, of one picture, has nothing for the second, and with BatchNormalization."""
    one, two = tmp_path / "one", tmp_path / "two"
    program = start(rootdir, two, build="build_normalized", epochs=2, devices="CPU:0,CPU:1")
    said = program.communicate(timeout=100)
    assert program.returncode == 0, said
    small.train(rootdir, one, build=small.build_normalized, epochs=2)
    pd.testing.assert_frame_equal(log_of(two), log_of(one), rtol=1e-5)
    for kept in (one / "features").iterdir():  # each device computing all of them would write twice the rows
        np.testing.assert_allclose(np.load(kept), np.load(two / "features" / kept.name), rtol=1e-4, atol=1e-4)
        assert kept.stat().st_size == (two / "features" / kept.name).stat().st_size


def test_more_epochs_go_on_and_a_worse_one_does_not_replace_the_best(whole, rootdir, tmp_path, capsys):
    small.train(rootdir, tmp_path, epochs=3, resume=True)
    assert "nothing to resume; starts from the first epoch" in capsys.readouterr().out
    best, kept = log_of(whole)["val_loss"].idxmin() + 1, (tmp_path / "Best.h5").read_bytes()
    assert best <= 3  # all that follows is worse
    picture = (tmp_path / "curves.png").read_bytes()
    assert small.train(rootdir, tmp_path, resume=True).epoch == best
    assert "goes on after epoch 3 of 8" in capsys.readouterr().out
    assert_same(tmp_path, whole)
    assert (tmp_path / "Best.h5").read_bytes() == kept
    longer = (tmp_path / "curves.png").read_bytes()
    assert longer.startswith(b"\x89PNG") and longer != picture
    assert longer == (whole / "curves.png").read_bytes()

    assert small.train(rootdir, tmp_path, resume=True).epoch == best  # nothing left to do
    assert_same(tmp_path, whole)
    small.train(rootdir, tmp_path / "other", epochs=1, seed=1)
    shutil.copyfile(tmp_path / "other" / "Best.h5", tmp_path / "Best.h5")
    with pytest.raises(UserError, match=r"Best\.h5: not the best epoch of the training that .*state\.npz"):
        small.train(rootdir, tmp_path, resume=True)


def test_the_epoch_kept_is_the_best_on_valid_not_on_train(rootdir, tmp_path):
    shutil.copytree(rootdir, tmp_path / "root")
    (tmp_path / "root" / "valid" / "JND-Levels.txt").write_text("5 6 7\n" * 3)  # from which learning leads away
    best, log = small.train(tmp_path / "root", tmp_path, epochs=3), log_of(tmp_path)
    assert best.epoch == 1 == log["val_loss"].idxmin() + 1 < log["loss"].idxmin() + 1
    assert best.loss == pytest.approx(log["val_loss"].min())


def test_patience_counts_on_after_a_resume(whole, rootdir, tmp_path):
    best = log_of(whole)["val_loss"].idxmin()
    small.train(rootdir, tmp_path, epochs=best + 2, patience=3)
    small.train(rootdir, tmp_path, patience=3, resume=True)
    pd.testing.assert_frame_equal(log_of(tmp_path), log_of(whole)[: best + 4], rtol=1e-5)


def test_the_log_has_each_epoch_of_one_training_once(whole, rootdir, tmp_path):
    small.train(rootdir, tmp_path, epochs=3)
    rows = (tmp_path / "logs.csv").read_bytes()
    with open(tmp_path / "logs.csv", "ab") as log:  # an epoch after the last state, and what fitted on a full disk
        log.write(rows.splitlines(keepends=True)[-1].replace(b"2;", b"3;", 1) + b"1")
    small.train(rootdir, tmp_path, resume=True)
    assert_same(tmp_path, whole)

    logs = (tmp_path / "logs.csv").read_bytes()
    for other in (logs.replace(b";", b",", 1), re.sub(rb"\d\.", b"7.", logs), b"image;JND1\n1.png;2\n", b"\xff"):
        (tmp_path / "logs.csv").write_bytes(other)
        with pytest.raises(UserError, match="logs.csv: not the log of this training; name its own, or a new one"):
            small.train(rootdir, tmp_path, resume=True)
        assert (tmp_path / "logs.csv").read_bytes() == other
    small.train(rootdir, tmp_path, epochs=1, overwrite=True)
    assert list(log_of(tmp_path)["epoch"]) == [0]


def test_a_resume_of_something_else_is_refused_in_one_line(whole, rootdir, tmp_path):
    folder, root = tmp_path / "mine", tmp_path / "root"
    shutil.copytree(whole, folder)
    before = {path: path.read_bytes() for path in folder.glob("*.*")}

    def refused(line, root=rootdir, **settings):
        with pytest.raises(UserError, match=line) as error:
            small.train(root, folder, resume=True, **settings)
        assert "\n" not in str(error.value)
        assert {path: path.read_bytes() for path in before} == before

    refused(r"state.npz: was trained with --learning_rate 0.01, not 0.02; resume", learning_rate=0.02)
    refused("was trained with --seed 0, not 1", seed=1)
    shutil.copytree(rootdir, root)
    write_png(root / "train" / "img2.png", np.zeros((180, 320, 3), np.uint8))
    refused("was trained with other images or labels", root=root)
    shutil.copyfile(rootdir / "train" / "img2.png", root / "train" / "img2.png")
    (root / "valid" / "JND-Levels.txt").write_text("1 2 3\n2 3 4\n3 4 5\n")
    refused("was trained with other images or labels", root=root)

    refused("was trained with other frozen weights", build=small.build_on_others)
    (folder / "state.npz").write_bytes(before.pop(folder / "state.npz")[:5000])
    refused(r"state\.npz: no state of a training")


def test_a_training_that_starts_from_weights(whole, rootdir, tmp_path, capsys):
    """All of them, also the bias of the output, which else starts at the mean label."""
    small.train(rootdir, tmp_path, epochs=1, learning_rate=1e-9, start_from=whole / "Best.h5")
    assert f"starts from: {whole / 'Best.h5'}" in capsys.readouterr().out
    np.testing.assert_allclose(log_of(tmp_path)["val_loss"][0], log_of(whole)["val_loss"].min(), rtol=1e-4)
    with pytest.raises(UserError, match="no such file or folder"):
        small.train(rootdir, tmp_path / "other", start_from=whole / "none.h5")
