"""`train` and `test` as every script has them, on small.py's network: flags, labels, names of files."""

import shutil
import unicodedata
from dataclasses import replace

import h5py
import keras
import pandas as pd
import pytest
import small

from common.cli.script import run_script
from common.core.errors import UserError
from common.media import images, metrics
from common.media.images import read_image, resize
from common.models.autoencoder import build_autoencoder
from common.models.registry import Output
from common.models.weight_files import save
from LAT import build_model

FOLDERS = ("jnd1test", "test")


def train(root, folder, *flags, **settings):
    where = ("--data_dir", root, "--checkpoint_path", folder, "--csv_log_path", folder)
    assert small.call("train", *where, *flags, **settings) == 0


def test(root, weights, out, *flags):
    where = ("--data_dir", root, "--model_weights_path", weights, "--result_path", out)
    assert small.call("test", *where, *flags) == 0


test.__test__ = False  # to pytest


@pytest.mark.parametrize(
    ("start", "qp"),
    [
        ("mean", 24.5),  # of the training labels; of those of valid: 23
        ("zero", 20),  # what the network was built with
    ],
)
def test_where_the_output_starts(start, qp, rootdir, tmp_path):
    train(rootdir, tmp_path, "--output_bias", start, "--learning_rate", 1e-30, "--epochs", 1)
    with h5py.File(tmp_path / "Best.h5") as file:
        names = [name for name in file["JND_output"].attrs["weight_names"] if "bias" in str(name)]
        assert [file["JND_output"][name][()] for name in names] == [pytest.approx([qp])]


def test_lat_is_built_to_start_at_zero_as_released():
    assert build_model(build_autoencoder(shape=(64, 64, 3))).get_layer("JND_output").bias.numpy() == [0]


@pytest.mark.parametrize(("cache", "good"), [("off", 2), ("features", 0)])
def test_an_image_that_breaks_during_training_is_named(cache, good, rootdir, tmp_path, monkeypatch):
    """Also in a later batch than the one that Keras looks at first, where the error comes as it is."""
    read, seen = images.read_image, []

    def broken(path):
        seen.append(path.name)
        if seen.count("img4.png") > good:
            raise UserError(f"{path}: no such file; check the path")
        return read(path)

    monkeypatch.setattr(images, "read_image", broken)
    cache = cache if cache == "off" else tmp_path / cache
    with pytest.raises(UserError, match=r"^\S+\.png: no such file; check the path$"):
        train(rootdir, tmp_path, "--epochs", 5, "--batch_size", 4, "--feature_cache", cache)
    assert not list((tmp_path / "features").glob("*"))


def test_a_dead_output_stops_a_training(rootdir, tmp_path):
    def dead(shape):
        model = small.build(shape)
        model.get_layer("JND_output").bias.assign([-1e6])
        return model

    with pytest.raises(UserError) as error:
        train(rootdir, tmp_path, "--output_bias", "zero", "--on_dead", "stop", build=dead)
    said = "epoch 1: JND_output is 0 for every image, a dead ReLU unit; lower --learning_rate, or leave --output_bias"
    assert str(error.value).startswith(said) and "\n" not in str(error.value)
    assert pd.read_csv(tmp_path / "logs.csv", sep=";")["val_loss"][0] == 23  # the mean label: it predicts 0
    assert not (tmp_path / "Best.h5").exists()


def test_quality_factors_are_labels_too(rootdir, small_weights, tmp_path, capsys):
    root = tmp_path / "qf"
    for split in ("train", "test"):
        shutil.copytree(rootdir / split, root / split)
        count = len(list((root / split).glob("*.png")))
        (root / split / "JND-Levels.txt").write_text("90 60 40\n" * count)
    test(root, small_weights, tmp_path / "out", "--label_unit", "QF")
    assert "QF; always predicting the training median gives 0.00 QF" in capsys.readouterr().out
    with pytest.raises(UserError, match="90 is outside 0 to 51"):
        test(root, small_weights, tmp_path / "out")


def test_plain_results_are_numbers_only(rootdir, small_weights, tmp_path):
    test(rootdir, small_weights, tmp_path / "ours")
    test(rootdir, small_weights, tmp_path / "theirs", "--plain")
    ours = pd.read_csv(tmp_path / "ours" / "test_results.csv", float_precision="round_trip")["JND1"]
    assert [float(line) for line in (tmp_path / "theirs" / "test_results.csv").read_text().splitlines()] == list(ours)


@pytest.mark.parametrize("present", [[], [2], [1, 3], [1, 2, 3]])
def test_frames_of_some_test_images_are_compared_and_the_others_predicted(present, rootdir, tmp_path, capsys):
    """As E2E models do, whose released programs run as well where jnd1test is empty or partial."""
    root = shutil.copytree(rootdir, tmp_path / "root")
    for number in {1, 2, 3} - set(present):
        (root / "jnd1test" / f"img{number}.png").unlink()
    (root / "test" / "img3.png").rename(root / "test" / "imgü3.png")  # composed; its frame's name is decomposed
    if 3 in present:
        (root / "jnd1test" / "img3.png").rename(root / "jnd1test" / unicodedata.normalize("NFD", "imgü3.png"))

    def build(shape):
        model = small.build(shape)
        copy = keras.layers.Rescaling(1.0, name="JNDImg")(model.input)
        return keras.Model(model.input, [copy, *model.outputs])

    outputs = (Output("JNDImg", target="frame", level="JND1", loss="mse"), *small.SMALL.outputs)
    save(build(small.INPUT.shape), tmp_path / "Best.h5")
    where = ["--data_dir", root, "--model_weights_path", tmp_path / "Best.h5", "--result_path", tmp_path / "out"]
    spec = replace(small.SMALL, build=build, outputs=outputs)
    assert run_script("", spec, arguments=["test", *map(str, where)]) == 0
    said = capsys.readouterr()
    assert len(pd.read_csv(tmp_path / "out" / "test_results.csv")) == 3
    rest = "PSNR and SSIM are theirs" if present else "no PSNR, no SSIM"
    line = f"warning: {root / 'jnd1test'}: frames of {len(present)} of 3 images; {rest}\n"
    assert said.err == (line if len(present) < 3 else "")
    values = [
        metrics.psnr(*(resize(read_image(rootdir / folder / f"img{n}.png"), 16, 16) for folder in FOLDERS))
        for n in present
    ]
    assert ("PSNR" in said.out) == bool(present)
    assert not present or f"PSNR {sum(values) / len(values):.2f} dB" in said.out


def test_a_name_that_is_no_utf_8_comes_through(rootdir, small_weights, tmp_path):
    (tmp_path / "root" / "test").mkdir(parents=True)
    name = b"\xff.png".decode("utf-8", "surrogateescape")
    shutil.copyfile(rootdir / "test" / "img1.png", tmp_path / "root" / "test" / name)
    test(tmp_path / "root", small_weights, tmp_path / "out")
    assert b"\xff.png," in (tmp_path / "out" / "test_results.csv").read_bytes()
