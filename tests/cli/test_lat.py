"""LAT.py as a user runs it: test with released weights, train, and test with what was trained."""

import contextlib
import io
import shutil

import numpy as np
import pandas as pd
import pytest

from common.cli import script
from common.core.errors import UserError
from LAT import LAT

SIZE = ("--input_size", 96, 160)  # where what LAT is trained on does not matter


def call(*arguments):
    """LAT's command line, inside this process."""
    assert script.run_script("", LAT, arguments=list(map(str, arguments))) == 0


def flags(command, root, files, out, **more):
    paths = {
        "test": {"--model_weights_path": files, "--result_path": out},
        "train": {
            "--checkpoint_path": out,
            "--csv_log_path": out,
            "--epochs": 2,
            "--batch_size": 4,
            "--learning_rate": 1e-4,
        },
    }[command]
    options = {"--jnd_value": "JND1", "--data_dir": root, "--JND_Recon_Models_Path": files, **paths, **more}
    return [command, *(part for pair in options.items() for part in pair if pair[1] is not None)]


def test_the_papers_command_predicts_as_the_released_program(run, golden, weight_files, tmp_path):
    images = golden.write_images(tmp_path / "images")
    (tmp_path / "root").mkdir()
    shutil.move(images, tmp_path / "root" / "test")
    done = run("LAT.py", *flags("test", f"{tmp_path}/root/", f"{weight_files}/", f"{tmp_path}/out/"))
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert str(weight_files / "LATJND1.h5") in done.stdout
    table = pd.read_csv(tmp_path / "out" / "JND1test_results.csv")
    assert list(table.columns) == ["image", "JND1"] and list(table["image"]) == ["gradient.png", "pattern.png"]
    np.testing.assert_allclose(table[["JND1"]], golden.predictions["LAT"]["outputs"][0]["values"], rtol=1e-4)


@pytest.fixture(scope="module")
def tested(rootdir, weight_files, tmp_path_factory):
    """The table of `LAT.py test` in batches of two images, the last of which is one short, and what it printed."""
    table = tmp_path_factory.mktemp("tested") / "mine.csv"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        call(*flags("test", rootdir, weight_files, table, **{"--batch_size": 2}))
    return pd.read_csv(table), printed.getvalue()


def test_labels_give_the_error_beside_the_median(tested):
    table, printed = tested
    assert list(table.columns) == ["image", "JND1", "JND1_label"]
    assert list(table["image"]) == ["img1.png", "img2.png", "img3.png"] and list(table["JND1_label"]) == [22, 23, 24]
    error = (table["JND1"] - table["JND1_label"]).abs().mean()
    assert f"mean absolute error {error:.2f} QP; always predicting the training median gives 1.50 QP" in printed


@pytest.mark.parametrize("size", [1, 3])
def test_batches_of_any_size_give_the_same(size, tested, rootdir, weight_files, tmp_path):
    call(*flags("test", rootdir, weight_files, tmp_path / "mine.csv", **{"--batch_size": size}))
    np.testing.assert_allclose(pd.read_csv(tmp_path / "mine.csv")["JND1"], tested[0]["JND1"], rtol=1e-4)


@pytest.fixture(scope="module")
def trained(rootdir, weight_files, tmp_path_factory):
    """The folder of a short training, and what it printed."""
    folder = tmp_path_factory.mktemp("trained")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        call(*flags("train", rootdir, weight_files, folder), *SIZE)
    return folder, printed.getvalue()


def test_a_training_learns_and_its_best_epoch_can_be_tested(trained, rootdir, tmp_path):
    folder, printed = trained
    log = pd.read_csv(folder / "logsJND1.csv", sep=";")
    assert list(log.columns) == ["epoch", "loss", "val_loss"] and len(log) == 2
    # The output starts at the mean label, so the first epoch is already near the labels and no unit is dead.
    assert log["loss"][0] < 15 and log["loss"].nunique() == 2
    best = log["val_loss"].idxmin()
    assert f"best epoch {best + 1} of 2:\nJND1: error on valid {log['val_loss'][best]:.2f} QP; always" in printed

    call(*flags("test", rootdir, folder, tmp_path, **{"--JND_Recon_Models_Path": None}), *SIZE)
    assert len(pd.read_csv(tmp_path / "JND1test_results.csv")) == 3


def test_a_training_does_not_replace_an_earlier_one(rootdir, weight_files, tmp_path):
    """Neither its weights nor, from another folder, its log, which would then be of two."""
    for name in ("BestModelJND1.h5", "logsJND1.csv"):
        (tmp_path / name).write_bytes(b"three nights of work")
        for more in ([], ["--resume"]):
            with pytest.raises(UserError, match=f"{name}: exists, from an earlier training"):
                call(*flags("train", rootdir, weight_files, tmp_path), *more)
        assert (tmp_path / name).read_bytes() == b"three nights of work"
        (tmp_path / name).unlink()


def test_mistakes_give_one_line_and_code_2(run, rootdir, weight_files, tmp_path):
    """Everything that is wrong with the data comes before TensorFlow has cost anybody's time on it."""
    broken = tmp_path / "broken"
    shutil.copytree(rootdir, broken)
    (broken / "train" / "img2.png").write_bytes((rootdir / "train" / "img2.png").read_bytes()[:2000])
    with open(broken / "valid" / "JND-Levels.txt", "a") as file:
        file.write("25 30 99\n")
    done = run("LAT.py", *flags("train", broken, weight_files, tmp_path / "C"))
    assert done.returncode == 2 and "Traceback" not in done.stderr and not (tmp_path / "C").exists()
    assert "img2.png" in done.stderr and "JND-Levels.txt" in done.stderr

    with pytest.raises(UserError, match="another model") as error:
        call(*flags("test", rootdir, weight_files / "JND1Reconstruction.h5", tmp_path / "out"))
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_an_unreadable_test_image_is_named_with_all_others(rootdir, weight_files, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(rootdir, broken)
    for name in ("img1.png", "img3.png"):
        (broken / "test" / name).write_bytes(b"")
    with pytest.raises(UserError) as error:
        call(*flags("test", broken, weight_files, tmp_path / "out"))
    assert "img1.png" in str(error.value) and "img3.png" in str(error.value) and not (tmp_path / "out").exists()


def test_weights_of_another_level_are_refused(rootdir, weight_files, tmp_path):
    level = {"--jnd_value": "JND2", "--JND_Recon_Models_Path": None}
    with pytest.raises(UserError, match="named for JND1"):
        call(*flags("test", rootdir, weight_files / "LATJND1.h5", tmp_path, **level))


def test_where_results_cannot_go_is_said_before_the_work(rootdir, weight_files, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "JND1test_results.csv").mkdir(parents=True)
    for target, reason in (("file/out", "this is a file"), ("taken", "this is a folder")):
        with pytest.raises(UserError, match=reason):
            call(*flags("test", rootdir, weight_files, tmp_path / target))
    labels = tmp_path / "JND-Levels.txt"
    labels.write_text("22 27 31")
    with pytest.raises(UserError, match="JND-Levels.txt: "):
        call(*flags("test", rootdir, weight_files, labels))
    assert labels.read_text() == "22 27 31"


def test_help_shows_the_papers_defaults(capsys):
    with pytest.raises(SystemExit):
        script.run_script("", LAT, arguments=["train", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for default in ("(default: 300)", "(default: 8)", "(default: 1e-05)", "(default: mean)"):
        assert default in said


def test_unknown_flags_fail(run):
    done = run("LAT.py", "test", "--jnd", "JND1")
    assert done.returncode == 2 and "error" in done.stderr
