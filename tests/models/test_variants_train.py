"""Short trainings of the largest variants through the public command lines."""

import re
import shutil

import keras
import numpy as np
import pandas as pd
import pytest
from variants import SIZE, call, variants_of

from common import prepare
from common.core.errors import UserError
from common.data.labels import write_labels
from common.media.images import write_png
from common.models import weight_files
from common.models.backbones import VGG16, build_network


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A rootdir of two images a split: the networks here are large."""
    root = tmp_path_factory.mktemp("tiny")
    random = np.random.default_rng(0)  # one dark, one bright: an untrained network must tell them apart
    for split in ("train", "valid", "test"):
        for number in range(2):
            write_png(root / split / f"{number}.png", random.integers(0, (30, 255)[number], (90, 160, 3), np.uint8))
            write_png(root / f"jnd2{split}" / f"{number}.png", np.full((90, 160, 3), 128, np.uint8))
        write_labels(root / split, ["0.png", "1.png"], [(22, 27, 31), (24, 31, 37)])
    return root


@pytest.fixture(scope="module")
def autoencoders(golden, tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoders")
    for name in ("Img", "JND1", "JND2", "JND3"):
        golden.write_weights("Reconstruction", folder / f"{name}Reconstruction.h5")
    return folder


@pytest.mark.parametrize(
    ("script", "flags", "checkpoint"),
    [
        ("E2ELAT", "--jnd_value JND2 --ImgReconstrution_Model_Path {folder}", "BestModelJND2.h5"),
        ("MJLAT", "--JND_Recon_Models_Path {folder}", "BestModel.h5"),
        ("MTJND", "--head MT_3LJND --vgg_weights none --learning_rate 1e-3", "checkpoint.h5"),
    ],
)
def test_trains_and_its_checkpoint_loads(script, flags, checkpoint, tiny, autoencoders, tmp_path, capsys):
    target = tmp_path / checkpoint if script == "MTJND" else tmp_path
    where = ["--data_dir", tiny, "--checkpoint_path", target, "--csv_log_path", tmp_path]
    where += ["--epochs", 1, "--batch_size", 2, *SIZE]
    assert call(script, "train", *flags.format(folder=autoencoders).split(), *where) == 0
    printed = capsys.readouterr().out
    variant = next(iter(variants_of(script).values())).resized(*SIZE[1:])
    level = "JND2" if "JND2" in flags else None
    for name in variant.levels(level).values():  # the levels' labels are as far apart as their numbers say
        line = rf"{name}: error on valid \d+\.\d+ QP; always predicting the training median gives {name[-1]}\.00 QP"
        assert re.search(line, printed)
    weight_files.load(build_network(variant), tmp_path / checkpoint)
    kinds = {"run", "state", "curves"}  # beside the checkpoint, marked as it is
    mark = {"BestModelJND2.h5": "JND2", "BestModel.h5": "", "checkpoint.h5": "_checkpoint"}[checkpoint]
    assert {path.stem for path in tmp_path.iterdir()} >= {f"{kind}{mark}" for kind in kinds}
    log = pd.read_csv(next(tmp_path.glob("logs*.csv")), sep=";")
    # The outputs start at the mean labels, so that each level's error is small from the start.
    errors = log[[f"val_{output}_loss" for output in variant.levels(level)]].to_numpy()
    assert (errors < 15).all()
    if script == "E2ELAT":
        assert {"val_JNDImg_psnr", "val_JNDImg_ssim", "val_JNDImg_mae"} <= {
            c.replace("mean_absolute_error", "mae") for c in log
        }
        expected = 0.01 * log["val_JNDImg_loss"] + 0.99 * log["val_JND_output_loss"]
        np.testing.assert_allclose(log["val_loss"], expected, rtol=1e-3)
        where = ["--data_dir", tiny, "--model_weights_path", tmp_path, "--result_path", tmp_path, *SIZE]
        assert call(script, "test", "--jnd_value", "JND2", *where) == 0
        printed = capsys.readouterr().out  # of the frames that this rootdir has
        assert "reconstructed JND2 frames: PSNR" in printed and "JND2: mean absolute error" in printed


def test_a_va_head_trains_with_its_tail_and_is_saved_without(tiny, tmp_path, capsys):
    where = ["--data_dir", tiny, "--checkpoint_path", tmp_path, "--csv_log_path", tmp_path]
    where += ["--epochs", 1, "--batch_size", 2, *SIZE, "--learning_rate", 1e-3]
    flags = ["--head", "MT_1LJND_VA", "--jnd_column", 1, "--vgg_weights", "none"]
    with pytest.raises(UserError, match="vatrain.*prepare attention"):
        call("MTJND", "train", *flags, *where)
    assert prepare.main(["attention", "--data_dir", str(tiny)]) == 0
    capsys.readouterr()
    assert call("MTJND", "train", *flags, *where, "--attention_weight", 0.5) == 0
    printed = capsys.readouterr().out
    assert "attention map on valid, 2 of 2 maps computed: CC" in printed and "JND2: error on valid" in printed

    variant = variants_of("MTJND")["MT_1LJND_VA"].resized(*SIZE[1:])
    weight_files.load(build_network(variant), tmp_path / "BestModelJND2.h5")
    log = pd.read_csv(tmp_path / "logsJND2.csv", sep=";")
    assert {"val_VA_output_CC", "val_VA_output_KLD", "val_VA_output_SIM"} <= set(log.columns)
    expected = log["val_JND_output_loss"] + 0.5 * log["val_VA_output_loss"]
    np.testing.assert_allclose(log["val_loss"], expected, rtol=1e-3)


@pytest.mark.parametrize("head", ["MT_1LJND_VA", "MT_3LJND_VA"])
def test_a_va_head_trains_without_its_tail_and_without_maps(head, tiny, tmp_path, monkeypatch, capsys):
    image = keras.Input((64, 64, 3))
    pooled = keras.Model(image, keras.layers.AveragePooling2D(16)(image))  # small, where weights do not matter
    monkeypatch.setattr(VGG16, "build", lambda *arguments: [pooled])
    root = shutil.copytree(tiny, tmp_path / "root", ignore=shutil.ignore_patterns("vatrain", "vavalid"))
    where = ["--data_dir", root, "--checkpoint_path", tmp_path, "--csv_log_path", tmp_path, "--vgg_weights", "none"]
    where += ["--epochs", 1, "--batch_size", 2, *SIZE]
    assert call("MTJND", "train", "--head", head, *where, "--attention_weight", 0) == 0
    printed = capsys.readouterr().out
    assert "JND1: error on valid" in printed and "attention" not in printed
    levels = [] if head == "MT_1LJND_VA" else [f"{name}_output_" for name in ("JND1", "JND2", "JND3")]
    columns = {f"{split}{level}loss" for split in ("", "val_") for level in ("", *levels)}
    assert set(pd.read_csv(next(tmp_path.glob("logs*.csv")), sep=";")) == {"epoch", *columns}


def test_vgg_without_network_or_file_gives_one_line_with_the_address(tiny, tmp_path, monkeypatch):
    def offline(*arguments, **options):
        raise Exception("URL fetch failure: no route to host")

    monkeypatch.setattr(keras.src.applications.vgg16.file_utils, "get_file", offline)
    where = ["--data_dir", tiny, "--checkpoint_path", tmp_path / "C", "--csv_log_path", tmp_path / "C"]
    with pytest.raises(UserError, match=r"cannot be fetched \(URL fetch failure.*fetch https://.*--vgg_weights"):
        call("MTJND", "train", "--head", "MT_3LJND", *where)
    assert not (tmp_path / "C").exists()
