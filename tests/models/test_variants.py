"""All nine variants: sizes, golden predictions through the public command lines."""

import json
import os
import re

import keras
import numpy as np
import pandas as pd
import pytest
from golden import seeded
from variants import SIZE, call, variants_of

from common.core.environment import has_bfloat16
from common.core.errors import UserError
from common.models import weight_files
from common.models.backbones import build_network
from common.models.inference import for_prediction, warn_of_slow_bfloat16

PROJECT = {path.stem for path in (seeded.HERE.parent.parent).glob("*.py")}

# name: script, key of layouts.json and golden.json, parameters, flags of the papers' `test` command beside the common
VARIANTS = {
    "LAT": ("LAT", "LAT", 9_783_225, "--jnd_value JND1"),
    "REC": ("REC", "REC", 8_078_384, "--jnd_value JND2"),
    "E2E-LAT": ("E2ELAT", "E2ELAT", 11_226_812, "--jnd_value JND1"),
    "E2E-REC": ("E2EREC", "E2EREC", 8_078_384, "--jnd_value JND3"),
    "MJ-LAT": ("MJLAT", "MJLAT", 26_070_091, "--jnd_value JND2"),
    "MJ-REC": ("MJREC", "MJREC", 13_886_928, ""),
    "MT_3LJND": ("MTJND", "MT_3LJND", 62_000_451, "--head MT_3LJND --jnd_value JND3"),
    "MT_1LJND_VA": ("MTJND", "MT_1LJND_VA", 30_476_609, "--head MT_1LJND_VA --jnd_column 0"),
    "MT_3LJND_VA": ("MTJND", "MT_3LJND", 62_000_451, "--head MT_3LJND_VA"),
}


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
        path = folder / name / variants_of(script)[name].released_name(level)
        if not (folder / f"{key}.h5").is_file():
            golden.write_weights(key, folder / f"{key}.h5")
        path.parent.mkdir(exist_ok=True)
        if not path.is_file():
            os.link(folder / f"{key}.h5", path)
        return path

    return write


@pytest.fixture(scope="module")
def golden_root(tmp_path_factory):
    """A rootdir of golden test images in the size that a script's networks see: both, or the last."""
    folder = tmp_path_factory.mktemp("golden_images")
    seeded.write_images(folder)

    def root(script, images=2):
        size, root = "480x270" if script == "MTJND" else "640x352", folder / f"{script}{images}"
        if not root.exists():
            (root / "test").mkdir(parents=True)
            for image in sorted((folder / size).iterdir())[-images:]:
                os.link(image, root / "test" / image.name)
        return root

    return root


# In bfloat16 the others do the arithmetic of one of these three.
@pytest.mark.parametrize(
    ("name", "precision"),
    [*((name, "float32") for name in VARIANTS), *((name, "bfloat16") for name in ("LAT", "REC", "MT_3LJND"))],
)
def test_the_public_command_predicts_as_the_released_program(
    name, precision, golden, files, golden_root, tmp_path, capsys
):
    script, key, _, flags = VARIANTS[name]
    variant = variants_of(script)[name]
    level = re.search(r"JND\d|$", flags)[0] or "JND1"
    file = files(name, level)
    count = 1 if (name, precision) == ("REC", "bfloat16") else 2  # where that is slow; the last is the one further off
    where = ["--data_dir", golden_root(script, count), "--model_weights_path", file.parent, "--result_path", tmp_path]
    warn_of_slow_bfloat16.cache_clear()
    assert call(script, "test", *flags.split(), *where, "--precision", precision) == 0
    printed = capsys.readouterr()
    assert str(file) in printed.out
    slow = precision == "bfloat16" and has_bfloat16() is False
    assert ("this processor has no bfloat16 instructions" in printed.err) == slow
    has_all_levels = not variant.needs_level and "--jnd_value" in flags
    assert (f"all three levels at once; {level} changes nothing" in printed.err) == has_all_levels
    levels = [prediction["values"] for prediction in golden.predictions[key]["outputs"] if "values" in prediction]
    table = pd.read_csv(tmp_path / (f"{level}test_results.csv" if variant.needs_level else "test_results.csv"))
    assert list(table["image"]) == ["gradient.png", "pattern.png"][-count:]
    columns = [level] if variant.needs_level else ["JND1", "JND2", "JND3"]
    assert list(table.columns) == ["image", *columns]
    predictions, expected = table[columns].to_numpy(), np.concatenate(levels, axis=1)[-count:]
    if precision == "float32":
        np.testing.assert_allclose(predictions, expected, rtol=1e-4)
        return
    slow |= bool({"ONEDNN_MAX_CPU_ISA", "TF_ENABLE_ONEDNN_OPTS"} & set(os.environ))  # as if it had none
    assert expected.max() < 51
    np.testing.assert_allclose(predictions, expected, atol=0.25 if slow else 0.1, rtol=0)  # QP
    assert not np.array_equal(predictions, expected)


@pytest.mark.parametrize(("name", "levels"), [("E2E-REC", [""]), ("MJ-REC", ["jnd1_", "jnd2_", "jnd3_"])])
def test_what_holds_pixels_stays_float32_in_bfloat16(name, levels):
    script, *_ = VARIANTS[name]
    variant = variants_of(script)[name].resized(*SIZE[1:])
    network = for_prediction(build_network(variant), variant.levels("JND1"), "bfloat16")
    names = ["{}reconstruction_norm"] + (["JNDImg"] if name == "E2E-REC" else ["{}reconstruction"])
    pixels = {name.format(level) for name in names for level in levels}
    heads = set(variant.levels("JND1"))
    computed = {layer.name: layer.compute_dtype for layer in network.layers if layer.weights}
    assert {name for name, dtype in computed.items() if dtype == "float32"} == pixels | heads
    assert set(computed.values()) == {"float32", "bfloat16"}


@pytest.mark.parametrize("name", VARIANTS)
def test_sizes_and_what_learns(name, golden):
    script, key, parameters, _ = VARIANTS[name]
    model = build_network(variants_of(script)[name])
    assert model.count_params() == parameters == golden.layouts[key]["parameters"]
    learning = {weight.path for weight in model.trainable_weights}
    parts = {part for part in ("encoder", "decoder", "block3", "block4", "lat_", "rec_") if part in " ".join(learning)}
    own = "lat_" if "LAT" in name else "rec_" if "REC" in name else "block4"
    assert parts == {own} | ({"encoder", "decoder"} if "E2E" in name else set())


# Each start of a backend takes seconds, so all commands run in one process.
PROGRAM = """
import json, sys
from common.cli.script import run_script
from common.models.registry import get_model
for name, *arguments in json.loads(sys.argv[1]):
    assert run_script("", get_model(name), arguments=arguments) == 0
"""


@pytest.mark.parametrize("backend", ["jax", "torch", "openvino"])
def test_other_backends_predict_the_same(backend, golden, files, golden_root, tmp_path, run):
    """One that attends, one that reconstructs images, and one on VGG16."""
    pytest.importorskip(backend)
    commands, images = [], {"LAT": 2, "REC": 1, "MT_1LJND_VA": 2}
    for name, count in images.items():
        where = ["--data_dir", golden_root(VARIANTS[name][0], count), "--model_weights_path", files(name, "JND1")]
        where += ["--result_path", tmp_path / f"{name}.csv"]
        flags = [] if backend == "openvino" else ["--backend", backend]  # whose --backend openvino needs no Keras
        commands.append([name, "test", "--jnd_value", "JND1", *where, *flags])
    done = run("-c", PROGRAM, json.dumps(commands, default=str), KERAS_BACKEND="openvino")
    assert done.returncode == 0, done.stderr
    for name, count in images.items():
        predictions = pd.read_csv(tmp_path / f"{name}.csv")[["JND1"]]
        expected = golden.predictions[VARIANTS[name][1]]["outputs"][0]["values"][-count:]
        np.testing.assert_allclose(predictions, expected, rtol=1e-4)


@pytest.mark.parametrize(
    "backend, command, line",
    [
        ("nonsense", "test", "Unable to import backend"),
        ("openvino", "train", "predicts only; train on tensorflow"),
        ("jax", "export", "exports on TensorFlow only; unset KERAS_BACKEND"),
    ],
)
def test_a_backend_that_cannot_do_it_ends_in_one_line(backend, command, line, files, rootdir, tmp_path, run):
    data, weights = ["--data_dir", rootdir], files("LAT", "JND1")
    flags = {
        "test": [*data, "--model_weights_path", weights, "--result_path", tmp_path],
        "train": [*data, "--checkpoint_path", tmp_path, "--csv_log_path", tmp_path, "--JND_Recon_Models_Path", weights],
        "export": ["--model_weights_path", weights, "--format", "savedmodel", "--output", tmp_path],
    }
    done = run("LAT.py", command, "--jnd_value", "JND1", *flags[command], KERAS_BACKEND=backend)
    assert done.returncode == 2 and line in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["E2E-LAT", "E2E-REC"])
def test_the_image_output_is_the_released_programs(name, golden, files):
    script, key, *_ = VARIANTS[name]
    variant = variants_of(script)[name]
    model = build_network(variant)
    weight_files.load(model, files(name, "JND1"))
    assert model.output_names == ["JNDImg", "JND_output"]
    image = keras.Model(model.input, model.outputs[0]).predict_on_batch(golden.images[:1])
    prediction = golden.predictions[key]["outputs"][0]
    np.testing.assert_allclose(image.mean((1, 2)), prediction["mean"][:1], rtol=1e-4)
    np.testing.assert_allclose(image.std((1, 2)), prediction["std"][:1], rtol=1e-4)
    np.testing.assert_allclose(image[:, ::88, ::160], prediction["grid"][:1], rtol=1e-4, atol=1e-5)


def test_one_level_heads_have_the_first_by_default_as_released_and_only_one(rootdir, tmp_path, capsys):
    where = ["--data_dir", rootdir, "--model_weights_path", tmp_path, "--result_path", tmp_path]
    for flags, number in (((), 1), (("--jnd_column", 1), 2), (("--jnd_value", "JND3"), 3)):
        with pytest.raises(UserError, match=f"expected MT_1LJND_VA's weights, MT_JND{number}_VA.h5"):
            call("MTJND", "test", "--head", "MT_1LJND_VA", *flags, *where)
    with pytest.raises(SystemExit):
        call("LAT", "test", *where)
    assert "--jnd_value" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        call("MTJND", "test", "--head", "MT_1LJND_VA", "--jnd_value", "JND1", "--jnd_column", 2, *where)
    assert "not --jnd_column 2" in capsys.readouterr().err
