"""python3 -m common.reconstruct: train the autoencoders, try them, and hand them to LAT."""

import shutil

import numpy as np
import pandas as pd
import pytest
from skimage import io

from common import reconstruct
from common.core.errors import UserError
from common.media import metrics
from common.models import weight_files
from common.models.autoencoder import build_autoencoder


def call(command, target, root, *more):
    return reconstruct.main([command, "--target", target, "--data_dir", str(root), *map(str, more)])


@pytest.fixture(scope="module")
def trained(rootdir, tmp_path_factory):
    """ImgReconstruction.h5 from scratch, then JND1Reconstruction.h5 starting from it."""
    folder = tmp_path_factory.mktemp("trained")
    more = ("--checkpoint_path", folder, "--patch", 32, 32, "--batch_size", 1, "--learning_rate", 1e-3)
    assert call("train", "Img", rootdir, *more, "--epochs", 5) == 0
    assert call("train", "JND1", rootdir, *more, "--epochs", 1) == 0
    return folder


def test_training_lowers_the_error_and_reports_psnr_and_ssim(trained):
    log = pd.read_csv(trained / "logsImgReconstruction.csv", sep=";")
    assert log["loss"].iloc[-1] < log["loss"].iloc[0] / 2
    assert {"psnr", "ssim", "val_psnr", "val_ssim"} <= set(log.columns)
    np.testing.assert_allclose(log["val_psnr"], 10 * np.log10(255**2 / log["val_loss"]), atol=1.5)


def test_a_jnd_autoencoder_starts_from_the_image_one(trained):
    image = pd.read_csv(trained / "logsImgReconstruction.csv", sep=";")
    jnd = pd.read_csv(trained / "logsJND1Reconstruction.csv", sep=";")
    assert jnd["loss"][0] < image["loss"][0] / 2


def test_a_diverging_training_stops_with_one_line(rootdir, tmp_path):
    more = ("--checkpoint_path", tmp_path, "--patch", 32, 32, "--learning_rate", 1e15)
    with pytest.raises(UserError, match=r"epoch \d+: the loss is .*lower --learning_rate"):
        call("train", "Img", rootdir, *more, "--epochs", 9)


def test_what_is_trained_on_patches_fits_the_whole_network(trained):
    weight_files.load(build_autoencoder(), trained / "JND1Reconstruction.h5")


def test_test_writes_reconstructions_and_their_psnr(trained, rootdir, tmp_path, capsys):
    assert call("test", "JND1", rootdir, "--model_weights_path", trained, "--result_path", tmp_path) == 0
    table = pd.read_csv(tmp_path / "JND1Reconstruction_test_results.csv")
    assert list(table["image"]) == ["img1.png", "img2.png", "img3.png"]
    written = io.imread(tmp_path / "JND1Reconstruction" / "img1.png")
    assert written.shape == (352, 640, 3)
    from common.media.images import read_image, resize

    frame = resize(read_image(rootdir / "jnd1test" / "img1.png"), 640, 352)
    assert table["PSNR"][0] == pytest.approx(metrics.psnr(frame, written), abs=1e-6)
    assert f"PSNR {table['PSNR'].mean():.2f} dB" in capsys.readouterr().out


def test_without_target_frames_there_is_no_psnr(trained, rootdir, tmp_path):
    (tmp_path / "root" / "test").mkdir(parents=True)
    shutil.copy(rootdir / "test" / "img1.png", tmp_path / "root" / "test")
    weight_file = trained / "JND1Reconstruction.h5"
    assert call("test", "JND1", tmp_path / "root", "--model_weights_path", weight_file, "--result_path", tmp_path) == 0
    assert list(pd.read_csv(tmp_path / "JND1Reconstruction_test_results.csv").columns) == ["image"]


def test_mistakes_are_refused_before_training(rootdir, tmp_path):
    with pytest.raises(UserError, match="multiples of 16"):
        call("train", "Img", rootdir, "--checkpoint_path", tmp_path, "--patch", 50, 64)
    with pytest.raises(UserError, match="jnd2train"):
        call("train", "JND2", rootdir, "--checkpoint_path", tmp_path)
    assert list(tmp_path.iterdir()) == []
