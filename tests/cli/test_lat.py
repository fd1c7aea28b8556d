"""LAT.py as a user runs it: test with released weights, train, and test with what was trained."""

import shutil

import h5py
import numpy as np
import pandas as pd
import pytest

from common.cli import script
from common.core.errors import UserError
from LAT import LAT

SMALL = ("--input_size", 64, 64)  # for what does not depend on the size


@pytest.fixture
def lat(capsys):
    """Call the command line inside this process: what it printed."""

    def call(*arguments):
        assert script.run_script("", LAT, arguments=list(map(str, arguments))) == 0
        return capsys.readouterr()

    return call


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


def test_the_papers_command_answers_as_the_released_program(run, golden, weight_files, tmp_path):
    pictures = golden.write_pictures(tmp_path / "pictures")
    (tmp_path / "root").mkdir()
    shutil.move(pictures, tmp_path / "root" / "test")
    done = run("LAT.py", *flags("test", f"{tmp_path}/root/", f"{weight_files}/", f"{tmp_path}/out/"))
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert str(weight_files / "LATJND1.h5") in done.stdout
    table = pd.read_csv(tmp_path / "out" / "JND1test_results.csv")
    assert list(table.columns) == ["image", "JND1"] and list(table["image"]) == ["gradient.png", "pattern.png"]
    np.testing.assert_allclose(table[["JND1"]], golden.answers["LAT"]["outputs"][0]["values"], rtol=1e-4)


def test_labels_give_the_error_beside_the_median(lat, rootdir, weight_files, tmp_path):
    printed = lat(*flags("test", rootdir, weight_files, tmp_path / "mine.csv", **{"--batch_size": 2})).out
    table = pd.read_csv(tmp_path / "mine.csv")
    assert list(table.columns) == ["image", "JND1", "JND1_label"]
    assert list(table["image"]) == ["img1.png", "img2.png", "img3.png"] and list(table["JND1_label"]) == [22, 23, 24]
    error = (table["JND1"] - table["JND1_label"]).abs().mean()
    assert f"mean absolute error {error:.2f} QP; always predicting the training median gives 1.50 QP" in printed


def test_batches_of_any_size_give_the_same(lat, rootdir, weight_files, tmp_path):
    tables = []
    for size in (1, 3):
        lat(*flags("test", rootdir, weight_files, tmp_path / f"{size}.csv", **{"--batch_size": size}))
        tables.append(pd.read_csv(tmp_path / f"{size}.csv"))
    np.testing.assert_allclose(tables[0]["JND1"], tables[1]["JND1"], rtol=1e-4)


@pytest.fixture(scope="module")
def trained(rootdir, weight_files, tmp_path_factory):
    """The folder of a short training."""
    folder = tmp_path_factory.mktemp("trained")
    script.run_script(
        "", LAT, arguments=list(map(str, flags("train", rootdir, weight_files, folder, **{"--epochs": 3})))
    )
    return folder


def test_a_training_learns_and_its_best_epoch_can_be_tested(trained, lat, rootdir, tmp_path):
    log = pd.read_csv(trained / "logsJND1.csv", sep=";")
    assert list(log.columns) == ["epoch", "loss", "val_loss"] and len(log) == 3
    # The output starts at the mean label, so the first epoch is already near the labels and no unit is dead.
    assert log["loss"][0] < 15 and log["loss"].nunique() == 3

    lat(*flags("test", rootdir, trained, tmp_path, **{"--JND_Recon_Models_Path": None}))
    assert len(pd.read_csv(tmp_path / "JND1test_results.csv")) == 3


def test_the_same_seed_gives_the_same_losses(trained, lat, rootdir, weight_files, tmp_path):
    printed = lat(*flags("train", rootdir, weight_files, tmp_path, **{"--epochs": 3})).out
    log = pd.read_csv(tmp_path / "logsJND1.csv", sep=";")
    np.testing.assert_allclose(log, pd.read_csv(trained / "logsJND1.csv", sep=";"), rtol=1e-5)
    best = log["val_loss"].idxmin()
    assert f"best epoch {best + 1} of 3:\nJND1: error on valid {log['val_loss'][best]:.2f} QP; always" in printed


def test_output_bias_zero_starts_as_released(rootdir, weight_files, tmp_path, lat):
    lat(*flags("train", rootdir, weight_files, tmp_path, **{"--output_bias": "zero", "--epochs": 1}), *SMALL)
    assert pd.read_csv(tmp_path / "logsJND1.csv", sep=";")["loss"][0] > 15


def test_the_output_starts_at_the_mean_of_the_training_labels(rootdir, weight_files, tmp_path, lat):
    more = {"--learning_rate": 1e-30, "--epochs": 1}
    lat(*flags("train", rootdir, weight_files, tmp_path, **more), *SMALL)
    with h5py.File(tmp_path / "BestModelJND1.h5") as file:
        names = [name for name in file["JND_output"].attrs["weight_names"] if "bias" in str(name)]
        assert [file["JND_output"][name][()] for name in names] == [pytest.approx([24.5])]  # those of valid: 23


def test_a_training_does_not_replace_an_earlier_one(rootdir, weight_files, tmp_path):
    """Neither its weights nor, from another folder, its log, which would then be of two."""
    for name in ("BestModelJND1.h5", "logsJND1.csv"):
        (tmp_path / name).write_bytes(b"three nights of work")
        for more in ([], ["--resume"]):
            arguments = [*flags("train", rootdir, weight_files, tmp_path), *more]
            with pytest.raises(UserError, match=f"{name}: exists, from an earlier training"):
                script.run_script("", LAT, arguments=list(map(str, arguments)))
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

    done = run("LAT.py", *flags("test", rootdir, weight_files / "JND1Reconstruction.h5", tmp_path / "out"))
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "another model" in done.stderr


def test_an_unreadable_test_picture_is_named_with_all_others(rootdir, weight_files, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(rootdir, broken)
    for name in ("img1.png", "img3.png"):
        (broken / "test" / name).write_bytes(b"")
    with pytest.raises(UserError) as error:
        script.run_script("", LAT, arguments=list(map(str, flags("test", broken, weight_files, tmp_path / "out"))))
    assert "img1.png" in str(error.value) and "img3.png" in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("cache", "good"), [("off", 2), (None, 0)])
def test_a_picture_that_breaks_during_training_is_named(cache, good, rootdir, weight_files, tmp_path, monkeypatch):
    """Also in a later batch than the one that Keras looks at first, where the error comes as it is."""
    from common.media.images import InputFormat

    load, seen = InputFormat.load, []

    def broken(self, path):
        seen.append(path.name)
        if seen.count("img4.png") > good:
            raise UserError(f"{path}: no such file; check the path")
        return load(self, path)

    monkeypatch.setattr(InputFormat, "load", broken)
    more = {"--epochs": 5, "--feature_cache": cache}
    with pytest.raises(UserError, match=r"^\S+\.png: no such file; check the path$"):
        arguments = [*flags("train", rootdir, weight_files, tmp_path, **more), *SMALL]
        script.run_script("", LAT, arguments=list(map(str, arguments)))
    assert not list((tmp_path / "features").glob("*"))


def test_weights_that_became_nan_are_not_kept(rootdir, weight_files, tmp_path):
    """The ReLU makes 0 of NaN, so that the loss alone looks sound."""
    arguments = flags("train", rootdir, weight_files, tmp_path, **{"--learning_rate": 1e38, "--epochs": 3})
    with pytest.raises(UserError, match=r"lower --learning_rate"):
        script.run_script("", LAT, arguments=list(map(str, [*arguments, *SMALL])))


def test_a_dead_output_stops_a_training(run, rootdir, weight_files, tmp_path):
    dead = {"--learning_rate": 10, "--epochs": 1, "--on_dead": "stop"}
    done = run("LAT.py", *flags("train", rootdir, weight_files, tmp_path, **dead), *SMALL)
    line = "error: epoch 1: JND_output is 0 for every image, a dead ReLU unit; lower --learning_rate, or leave"
    assert done.returncode == 2 and done.stderr.startswith(line) and done.stderr.count("\n") == 1
    log = pd.read_csv(tmp_path / "logsJND1.csv", sep=";")
    assert log["val_loss"][0] == 23  # the mean label: it predicts 0
    assert not (tmp_path / "BestModelJND1.h5").exists()


def test_weights_of_another_level_are_refused(rootdir, weight_files, tmp_path):
    level = {"--jnd_value": "JND2", "--JND_Recon_Models_Path": None}
    arguments = flags("test", rootdir, weight_files / "LATJND1.h5", tmp_path, **level)
    with pytest.raises(UserError, match="named for JND1"):
        script.run_script("", LAT, arguments=list(map(str, arguments)))


def test_where_results_cannot_go_is_said_before_the_work(rootdir, weight_files, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "JND1test_results.csv").mkdir(parents=True)
    for target, reason in (("file/out", "this is a file"), ("taken", "this is a folder")):
        with pytest.raises(UserError, match=reason):
            script.run_script(
                "", LAT, arguments=list(map(str, flags("test", rootdir, weight_files, tmp_path / target)))
            )


def test_quality_factors_are_labels_too(lat, rootdir, weight_files, tmp_path):
    root = tmp_path / "qf"
    for split in ("train", "test"):
        shutil.copytree(rootdir / split, root / split)
        count = len(list((root / split).glob("*.png")))
        (root / split / "JND-Levels.txt").write_text("90 60 40\n" * count)
    printed = lat(*flags("test", root, weight_files, tmp_path / "out", **{"--label_unit": "QF"})).out
    assert "QF; always predicting the training median gives 0.00 QF" in printed
    with pytest.raises(UserError, match="90 is outside 0 to 51"):
        script.run_script("", LAT, arguments=list(map(str, flags("test", root, weight_files, tmp_path / "out"))))


def test_a_name_that_is_no_utf_8_comes_through(lat, rootdir, weight_files, tmp_path):
    (tmp_path / "root" / "test").mkdir(parents=True)
    name = b"\xff.png".decode("utf-8", "surrogateescape")
    shutil.copyfile(rootdir / "test" / "img1.png", tmp_path / "root" / "test" / name)
    lat(*flags("test", tmp_path / "root", weight_files, tmp_path / "out"))
    assert b"\xff.png," in (tmp_path / "out" / "JND1test_results.csv").read_bytes()


def test_help_shows_the_papers_defaults(capsys):
    with pytest.raises(SystemExit):
        script.run_script("", LAT, arguments=["train", "--help"])
    said = capsys.readouterr().out
    for default in ("(default: 300)", "(default: 8)", "(default: 1e-05)", "(default: mean)"):
        assert default in said


def test_unknown_flags_fail(run):
    done = run("LAT.py", "test", "--jnd", "JND1")
    assert done.returncode == 2 and "error" in done.stderr
