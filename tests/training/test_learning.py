"""A network learns to predict photographs that it never saw, and does not where the labels are shuffled."""

import functools

import pandas as pd
import pytest

from benchmarks.learning import shuffle_labels
from common import demo
from common.core.environment import PROJECT
from common.core.processes import run_python

pytestmark = pytest.mark.slow
CROPS = 6
run = functools.partial(run_python, cwd=PROJECT)
TRAINING = "--learning_rate 1e-4 --decay cosine --batch_size 4 --epochs 16 --augment flips --overwrite".split()


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A folder with rootdir/, of some 64 training crops, shuffled/ and the autoencoder, a block transform."""
    folder = tmp_path_factory.mktemp("learning")
    demo.collect(folder / "photographs")
    settings = ("--crops", CROPS, "--split", 11, 4, 0, "--enlarge")
    assert (
        run_python(
            "-m", "common.prepare", "photos", folder / "photographs", "--data_dir", folder / "rootdir", *settings
        )
        == 0
    )
    shuffle_labels(folder / "rootdir", folder / "shuffled")
    settings = ("--patch", 64, 64, "--epochs", 1, "--learning_rate", 1e-9, "--target", "JND1")
    assert (
        run_python(
            "-m",
            "common.reconstruct",
            "train",
            "--data_dir",
            folder / "rootdir",
            "--checkpoint_path",
            folder,
            *settings,
        )
        == 0
    )
    return folder


def ratio(folder, name):
    """The error on valid of LAT trained on `name`, divided by that of always predicting the training median."""
    target = folder / f"trained_{name}"
    paths = ("--data_dir", folder / name, "--checkpoint_path", target, "--csv_log_path", target)
    backbone = ("--JND_Recon_Models_Path", folder, "--feature_cache", folder / "features")
    assert run("LAT.py", "train", "--jnd_value", "JND1", *paths, *backbone, *TRAINING) == 0
    table = pd.read_csv(folder / "rootdir" / "manifest.csv")
    levels = {split: part["JND1"] for split, part in table.groupby("split")}
    median = (levels["valid"] - levels["train"].median()).abs().mean()
    return pd.read_csv(target / "logsJND1.csv", sep=";")["val_loss"].tail(5).mean() / median


def test_lat_learns_from_64_crops_and_nothing_from_shuffled_labels(experiment):
    learned, shuffled = (ratio(experiment, name) for name in ("rootdir", "shuffled"))
    assert learned < 0.85, learned
    assert shuffled > 0.95, shuffled
