"""All nine variants: sizes, golden answers through the public command lines, a short training each."""

import importlib
import os
import re

import keras
import numpy as np
import pandas as pd
import pytest
from golden import seeded

from common import prepare
from common.cli.script import run_script
from common.core.environment import has_bfloat16
from common.core.errors import UserError
from common.data.labels import write_labels
from common.media.images import write_png
from common.models import weight_files
from common.models.backbones import build_network
from common.models.inference import warn_of_slow_bfloat16
from common.models.registry import ModelSpec

PROJECT = {path.stem for path in (seeded.HERE.parent.parent).glob("*.py")}

# name: script, key of layouts.json and golden.json, parameters, flags of the papers' `test` command beside the common
VARIANTS = {
    "LAT": ("LAT", "LAT", 9_783_225, "--jnd_value JND1"),
    "REC": ("REC", "REC", 8_078_384, "--jnd_value JND2"),
    "E2E-LAT": ("E2ELAT", "E2ELAT", 11_226_812, "--jnd_value JND1"),
    "E2E-REC": ("E2EREC", "E2EREC", 8_078_384, "--jnd_value JND3"),
    "MJ-LAT": ("MJLAT", "MJLAT", 26_070_091, ""),
    "MJ-REC": ("MJREC", "MJREC", 13_886_928, ""),
    "MT_3LJND": ("MTJND", "MT_3LJND", 62_000_451, "--head MT_3LJND"),
    "MT_1LJND_VA": ("MTJND", "MT_1LJND_VA", 30_476_609, "--head MT_1LJND_VA --jnd_column 0"),
    "MT_3LJND_VA": ("MTJND", "MT_3LJND", 62_000_451, "--head MT_3LJND_VA"),
}
SIZE = ("--input_size", 64, 64)  # where what a network is trained on does not matter


def variants_of(script):
    """The ModelSpec that a script defines, by name."""
    module = importlib.import_module(script)
    return {value.name: value for value in vars(module).values() if isinstance(value, ModelSpec)}


def call(script, *arguments):
    """A script's command line, inside this process."""
    variants = variants_of(script).values()
    return run_script("", *variants, arguments=[str(part) for part in arguments])


def test_no_variant_is_forgotten():
    defined = {}
    for script in PROJECT:
        for name in variants_of(script):
            defined[name] = script
    assert defined == {name: row[0] for name, row in VARIANTS.items()}


@pytest.fixture(scope="module")
def files(golden, tmp_path_factory):
    """A weight file of a variant in the released layout and under its released name."""
    folder = tmp_path_factory.mktemp("released")

    def write(name, level):
        script, key, *_ = VARIANTS[name]
        path = folder / name / variants_of(script)[name].weights.format(jnd=level)
        if not (folder / f"{key}.h5").is_file():
            golden.write_weights(key, folder / f"{key}.h5")
        path.parent.mkdir(exist_ok=True)
        if not path.is_file():
            os.link(folder / f"{key}.h5", path)
        return path

    return write


@pytest.fixture(scope="module")
def golden_root(tmp_path_factory):
    """A rootdir whose test pictures are the golden ones, in the size that a script's networks see."""
    folder = tmp_path_factory.mktemp("golden_pictures")
    seeded.write_images(folder)

    def root(script):
        size = "480x270" if script == "MTJND" else "640x352"
        if not (folder / script).exists():
            (folder / script).mkdir()
            (folder / script / "test").symlink_to(folder / size)
        return folder / script

    return root


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", VARIANTS)
def test_the_public_command_answers_as_the_released_program(
    name, precision, golden, files, golden_root, tmp_path, capsys
):
    script, key, parameters, flags = VARIANTS[name]
    variant = variants_of(script)[name]
    level = {"--jnd_value JND2": 2, "--jnd_value JND3": 3}.get(flags, 1)
    file = files(name, level)
    where = ["--data_dir", golden_root(script), "--model_weights_path", file.parent]
    where += ["--result_path", tmp_path / "r.csv"]
    warn_of_slow_bfloat16.cache_clear()
    assert call(script, "test", *flags.split(), *where, "--precision", precision) == 0
    printed = capsys.readouterr()
    assert str(file) in printed.out
    slow = precision == "bfloat16" and has_bfloat16() is False
    assert ("this processor has no bfloat16 instructions" in printed.err) == slow
    levels = [answer["values"] for answer in golden.answers[key]["outputs"] if "values" in answer]
    table = pd.read_csv(tmp_path / "r.csv")
    assert list(table["image"]) == ["gradient.png", "pattern.png"]
    columns = list(variant.levels(level).values())
    assert list(table.columns) == ["image", *columns]
    answers, expected = table[columns].to_numpy(), np.concatenate(levels, axis=1)
    if precision == "bfloat16":  # in QP, and as a share where the golden levels, MJ-REC's, are far above 51
        slow |= bool({"ONEDNN_MAX_CPU_ISA", "TF_ENABLE_ONEDNN_OPTS"} & set(os.environ))  # as if it had none
        atol, rtol = (0.25, 7e-3) if slow else (0.1, 2e-3)
        np.testing.assert_allclose(answers, expected, atol=atol, rtol=0 if expected.max() < 51 else rtol)
        assert not np.array_equal(answers, expected)
        return
    np.testing.assert_allclose(answers, expected, rtol=1e-4)

    model = build_network(variant)
    assert model.count_params() == parameters == golden.layouts[key]["parameters"]


@pytest.mark.parametrize("name", ["LAT", "REC", "MT_1LJND_VA"])
@pytest.mark.parametrize("backend", ["jax", "torch", "openvino"])
def test_other_backends_answer_the_same(backend, name, golden, files, golden_root, tmp_path, run):
    pytest.importorskip(backend)
    if backend == "openvino" and keras.__version__.startswith("3.12."):
        pytest.skip("this Keras has not all layers for OpenVINO")
    script, key, _, flags = VARIANTS[name]
    where = ["--data_dir", golden_root(script), "--model_weights_path", files(name, 1)]
    where += ["--result_path", tmp_path / "r.csv"]
    done = run(f"{script}.py", "test", *flags.replace("JND2", "JND1").split(), *where, "--backend", backend)
    assert done.returncode == 0, done.stderr
    expected = golden.answers[key]["outputs"][0]["values"]
    np.testing.assert_allclose(pd.read_csv(tmp_path / "r.csv")[["JND1"]], expected, rtol=1e-4)


@pytest.mark.parametrize(
    "backend, command, line",
    [
        ("nonsense", "test", "Unable to import backend"),
        ("jax", "train", "predicts only"),
    ],
)
def test_a_backend_that_is_not_there_ends_in_one_line(backend, command, line, files, rootdir, tmp_path, run):
    where = ["--jnd_value", "JND1", "--data_dir", rootdir]
    flags = {
        "test": ["--model_weights_path", files("LAT", 1), "--result_path", tmp_path],
        "train": [
            "--checkpoint_path",
            tmp_path,
            "--csv_log_path",
            tmp_path,
            "--JND_Recon_Models_Path",
            files("LAT", 1),
        ],
    }
    done = run("LAT.py", command, *where, *flags[command], KERAS_BACKEND=backend)
    assert done.returncode == 2 and line in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["E2E-LAT", "E2E-REC"])
def test_the_image_output_is_the_released_programs(name, golden, files):
    script, key, *_ = VARIANTS[name]
    variant = variants_of(script)[name]
    model = build_network(variant)
    weight_files.load(model, files(name, 1))
    image, _ = model.predict_on_batch(golden.pictures[:1])
    answer = golden.answers[key]["outputs"][0]
    np.testing.assert_allclose(image.mean((1, 2)), answer["mean"][:1], rtol=1e-4)
    np.testing.assert_allclose(image.std((1, 2)), answer["std"][:1], rtol=1e-4)
    np.testing.assert_allclose(image[:, ::88, ::160], answer["grid"][:1], rtol=1e-4, atol=1e-5)


def test_e2e_reports_the_reconstructed_frames_where_they_exist(files, rootdir, tmp_path, capsys):
    where = ["--data_dir", rootdir, "--model_weights_path", files("E2E-LAT", 1), "--result_path", tmp_path]
    assert call("E2ELAT", "test", "--jnd_value", "JND1", *where) == 0
    printed = capsys.readouterr().out
    assert "reconstructed JND1 frames: PSNR" in printed and "JND1: mean absolute error" in printed


@pytest.mark.parametrize("name", ["MJ-LAT", "MT_3LJND"])
def test_joint_variants_take_a_level_and_say_it_changes_nothing(name, files, golden_root, tmp_path, capsys):
    script, _, _, flags = VARIANTS[name]
    where = ["--data_dir", golden_root(script), "--model_weights_path", files(name, 1), "--result_path", tmp_path]
    assert call(script, "test", *flags.split(), "--jnd_value", "JND2", *where) == 0
    assert "all three levels at once; JND2 changes nothing" in capsys.readouterr().err
    assert list(pd.read_csv(tmp_path / "test_results.csv").columns) == ["image", "JND1", "JND2", "JND3"]


def test_one_level_heads_need_a_level_and_only_one(tmp_path, capsys):
    where = ["--data_dir", tmp_path, "--model_weights_path", tmp_path, "--result_path", tmp_path]
    with pytest.raises(SystemExit):
        call("MTJND", "test", "--head", "MT_1LJND_VA", *where)
    assert "--jnd_value JND1, JND2 or JND3 is missing" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        call("MTJND", "test", "--head", "MT_1LJND_VA", "--jnd_value", "JND1", "--jnd_column", 2, *where)
    assert "not --jnd_column 2" in capsys.readouterr().err


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A rootdir of two pictures a split: the networks here are large."""
    root = tmp_path_factory.mktemp("tiny")
    random = np.random.default_rng(0)  # one dark, one bright: an untrained network must tell them apart
    for split in ("train", "valid"):
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
    level = 2 if "JND2" in flags else None
    for name in variant.levels(level).values():  # the levels' labels are as far apart as their numbers say
        line = rf"{name}: error on valid \d+\.\d+ QP; always predicting the training median gives {name[-1]}\.00 QP"
        assert re.search(line, printed)
    model = build_network(variant)
    weight_files.load(model, tmp_path / checkpoint)
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


def test_frozen_parts_do_not_train(golden):
    for name, trainable in (("REC", "rec"), ("MJ-LAT", "lat"), ("MT_3LJND", "block4")):
        script, *_ = VARIANTS[name]
        variant = variants_of(script)[name]
        model = build_network(variant)
        learning = {weight.path for weight in model.trainable_weights}
        assert any(trainable in path for path in learning)
        assert not any("encoder" in path or "decoder" in path or "block3" in path for path in learning)


def test_vgg_without_network_or_file_gives_one_line_with_the_address(tiny, tmp_path, monkeypatch):
    import keras

    def offline(*arguments, **options):
        raise Exception("URL fetch failure: no route to host")

    monkeypatch.setattr(keras.src.applications.vgg16.file_utils, "get_file", offline)
    where = ["--data_dir", tiny, "--checkpoint_path", tmp_path / "C", "--csv_log_path", tmp_path / "C"]
    with pytest.raises(UserError, match=r"cannot be fetched \(URL fetch failure.*fetch https://.*--vgg_weights"):
        call("MTJND", "train", "--head", "MT_3LJND", *where)
    assert not (tmp_path / "C").exists()
