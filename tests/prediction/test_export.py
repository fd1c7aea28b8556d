"""Exported networks as a stranger runs them: by docs/export.md, in each format's own runtime, without this project."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec

import h5py
import numpy as np
import pytest
import small
from conftest import PROJECT
from skimage import data

from common import load
from common.cli import script
from common.core.errors import UserError
from common.media.formats import InputFormat
from common.media.images import preprocess, resize, write_png
from common.models import weight_files as h5_files
from common.models.exported import FORMATS
from common.prediction import converters
from LAT import LAT

RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino", "litert": "ai_edge_litert", "savedmodel": "tensorflow"}
FIRST = {
    "onnx": "import onnxruntime",
    "openvino": "import openvino",
    "litert": "from ai_edge",
    "savedmodel": "import t",
}


@pytest.fixture(scope="module", autouse=True)
def no_telemetry():
    """OpenVINO's converter reports to Intel, which takes seconds where there is no network."""
    with pytest.MonkeyPatch.context() as patch:
        if find_spec("openvino_telemetry"):
            patch.setattr("openvino_telemetry.utils.sender.TelemetrySender.send", lambda *_: None)
        yield


def call(*arguments):
    return script.run_script("", LAT, arguments=["export", "--jnd_value", "JND1", *map(str, arguments)])


@pytest.fixture(scope="module")
def predictor(weight_files):
    return load("LAT", 1, weight_files)


@pytest.fixture(scope="module")
def keras_levels(predictor, tmp_path_factory):
    """The levels of photographs of several sizes, as `predict` gives them: {file: QP}."""
    folder = tmp_path_factory.mktemp("photographs")
    photographs = {"small.png": data.chelsea()[:100, :150], "wide.png": data.rocket(), "square.png": data.astronaut()}
    levels = {}
    for name, pixels in photographs.items():
        write_png(folder / name, pixels)
        levels[folder / name] = predictor(folder / name).levels["JND1"]
    return levels


def importable(form):
    for module, _ in form.needs:
        pytest.importorskip(module)


@pytest.fixture(scope="module")
def exported(run, weight_files, tmp_path_factory):
    """Make the file of a format, once, in a folder `models`: its folder, and the process where that was one."""
    made = {}

    def make(name):
        importable(FORMATS[name])
        if name not in made:
            folder, done = tmp_path_factory.mktemp(name), None
            flags = ("--format", name, "--output", folder / "models", "--model_weights_path", weight_files)
            if name == "litert":  # a fresh process, in which TensorFlow would talk
                done = run("LAT.py", "export", "--jnd_value", "JND1", *flags)
                assert done.returncode == 0, done.stderr
            else:
                assert call(*flags) == 0
            made[name] = folder, done
        return made[name]

    return make


READ, *RUNS = re.findall("```python\n(.*?)```", (PROJECT / "docs" / "export.md").read_text(), re.DOTALL)


def test_the_documentations_lines_read_images_of_any_size_as_predict_does(predictor, keras_levels):
    for path, level in keras_levels.items():
        exec(READ.replace("image.png", str(path)), names := {})
        assert predictor(names["image"][0]).levels["JND1"] == pytest.approx(level, rel=1e-5)


@pytest.mark.parametrize(("name", "number"), list(zip(FORMATS, (0, 1, 2, 0))))
def test_the_documentations_lines_give_what_predict_gives(name, number, exported, keras_levels):
    pytest.importorskip(RUNTIMES[name])
    folder, _ = exported(name)
    (lines,) = (lines for lines in RUNS if lines.startswith(FIRST[name]))
    path, level = list(keras_levels.items())[number]
    program = READ.replace("image.png", str(path)) + lines
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (printed,) = re.findall(r"\[\[([\d.e+-]+)\]\]", done.stdout)
    assert float(printed) == pytest.approx(level, rel=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_every_file_tells_what_it_is(name, exported, weight_files):
    path = exported(name)[0] / "models" / f"LATJND1{FORMATS[name].suffix}"
    described = json.loads(path.with_name(f"{path.name}.json").read_text())
    assert described["model"] == "LAT" and described["format"] == name and list(described["outputs"]) == ["JND1"]
    assert described["weights"] == {
        "file": "LATJND1.h5",
        "sha256": hashlib.sha256((weight_files / "LATJND1.h5").read_bytes()).hexdigest(),
    }
    assert described["input"]["shape"] == [1 if name == "litert" else "batch", 352, 640, 3]
    assert "640x352" in described["input"]["resize"] and "INTER_LINEAR" in described["input"]["resize"]
    if name == "onnx":
        import onnx

        model = onnx.load(path)
        inside = {prop.key: prop.value for prop in model.metadata_props}["input"]
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    elif name == "openvino":
        import openvino

        inside = openvino.Core().read_model(path).get_rt_info(["jnd", "input"]).astype(str)
    elif name == "litert":
        with zipfile.ZipFile(path) as archive:
            inside = json.dumps(json.loads(archive.read("description.json"))["input"])
    else:
        inside = json.dumps(json.loads((path / "assets.extra" / "description.json").read_text())["input"])
    assert json.loads(inside) == described["input"]
    files = [file for part in path.parent.iterdir() for file in (part, *part.rglob("*")) if file.is_file()]
    assert 39e6 < sum(file.stat().st_size for file in files) < 40e6  # each weight once, in four bytes


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.batch is None])
def test_several_images_at_once_give_the_same(name, exported, keras_levels):
    pytest.importorskip(RUNTIMES[name])
    run = converters.RUNNERS[name](exported(name)[0] / "models" / f"LATJND1{FORMATS[name].suffix}")
    images = np.stack([resize(np.asarray(data.astronaut()), 640, 352), resize(np.asarray(data.rocket()), 640, 352)])
    by_name = {path.name: level for path, level in keras_levels.items()}
    expected = [[by_name["square.png"]], [by_name["wide.png"]]]
    np.testing.assert_allclose(run(images)["JND1"], expected, rtol=1e-5)


def test_other_scales_and_sizes_are_inside_too(small_weights, tmp_path):
    small.call("export", "--format", "savedmodel", "--output", tmp_path, "--model_weights_path", small_weights)
    network = small.build()
    h5_files.load(network, small_weights)
    images = np.random.default_rng(0).integers(0, 256, (2, *small.INPUT.shape), dtype=np.uint8)
    outputs = converters.RUNNERS["savedmodel"](tmp_path / "Best.savedmodel")(images)
    expected = network.predict_on_batch(np.stack([preprocess(image, small.INPUT) for image in images]))
    np.testing.assert_allclose(outputs["JND1"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.float16])
def test_float16_stores_half_the_bytes_and_gives_nearly_the_same(name, tmp_path):
    """A network of 2,048 weights and a bias of 25.337, which float16 would make 25.344."""
    importable(FORMATS[name])
    pytest.importorskip(RUNTIMES[name])
    form, network = FORMATS[name], small.build()
    level = network.get_layer("JND_output")
    level.set_weights([level.get_weights()[0], np.array([25.337])])
    image = np.random.default_rng(0).integers(0, 256, (1, *small.INPUT.shape), dtype=np.uint8)
    expected = network.predict_on_batch(preprocess(image[0], small.INPUT)[None]).item()
    sizes = {}
    for half in (False, True):
        path = tmp_path / str(half) / f"x{form.suffix}"
        path.parent.mkdir()
        served = converters.Served(network, small.INPUT, ["JND1"], form.batch)
        converters.WRITERS[name](served, path, {"model": "small"}, half)
        sizes[half] = path.with_suffix(form.companion or form.suffix).stat().st_size
    assert sizes[True] < sizes[False] - 2048
    level = converters.RUNNERS[name](path)(image)["JND1"].item()
    off = 0.01 if name == "litert" else 0.003  # LiteRT halves biases too
    assert level == pytest.approx(expected, abs=off) and level != expected


def test_the_command_says_little_and_its_runtime_need_not_be_there(exported, weight_files):
    folder, done = exported("litert")
    target = folder / "models" / "LATJND1.tflite"
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert re.match(rf"{target}: 39.1 MB, weights .*; its levels are Keras's within .* QP$", first)
    assert second.endswith("docs/export.md")
    with pytest.raises(UserError, match=rf"^{target}: exists; give another name, or --overwrite to replace it$"):
        call("--format", "litert", "--output", target, "--model_weights_path", weight_files)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--format", "litert", "--output", "x.onnx"], r"x\.onnx: expected a name that ends in \.tflite for litert"),
        (["--format", "savedmodel", "--output", "x", "--precision", "float16"], "float16: not for savedmodel"),
        (["--format", "litert", "--output", "x", "--model_weights_path", "nowhere"], "nowhere: no such file or folder"),
        (["--format", "litert", "--output", "setup.md/x"], "setup.md: this is a file; expected a folder"),
    ],
)
def test_mistakes_give_one_line_and_write_nothing(flags, line, weight_files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "setup.md").touch()
    if "--model_weights_path" not in flags:
        flags = [*flags, "--model_weights_path", weight_files]
    with pytest.raises(UserError, match=line):
        call(*flags)
    assert [path.name for path in tmp_path.iterdir()] == ["setup.md"]


def test_weights_of_another_model_export_nothing(weight_files, tmp_path):
    weights = weight_files / "JND1Reconstruction.h5"
    with pytest.raises(UserError, match="for another model"):
        call("--format", "litert", "--output", tmp_path / "out", "--model_weights_path", weights)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_a_missing_package_is_named_before_the_work(name, weight_files, tmp_path, monkeypatch):
    monkeypatch.setattr("common.models.exported.find_spec", lambda module: None)
    with pytest.raises(UserError, match=rf"^--format {name} needs more than requirements.txt: pip install .*{name}=="):
        call("--format", name, "--output", tmp_path / "x", "--model_weights_path", weight_files)


def test_a_file_with_other_levels_is_not_kept(small_weights, tmp_path, monkeypatch):
    """As a converter of another version might make it."""
    monkeypatch.setattr(InputFormat, "preprocess_tensor", lambda self, pixels: pixels * self.scale)
    with pytest.raises(UserError, match="QP off those of Keras; it is not kept"):
        small.call("export", "--format", "savedmodel", "--output", tmp_path, "--model_weights_path", small_weights)
    assert list(tmp_path.iterdir()) == []


def test_weights_whose_levels_are_no_numbers_are_not_exported(small_weights, tmp_path):
    weights = shutil.copy(small_weights, tmp_path / "Large.h5")
    with h5py.File(weights, "r+") as file:
        file["dense/dense/kernel:0"][...] = 0
        file["dense/dense/bias:0"][...] = 100  # tanh gives 1; NaN would not do: the ReLU of some processors makes it 0
        file["JND_output/JND_output/kernel:0"][...] = 3e38
    with pytest.raises(UserError, match="the network gives (nan|inf) for an image; its weights are too large"):
        small.call("export", "--format", "savedmodel", "--output", tmp_path / "x", "--model_weights_path", weights)


def test_overwriting_replaces_a_savedmodel_and_no_other_folder(weight_files, tmp_path):
    target = tmp_path / "x.savedmodel"
    target.mkdir()
    (target / "diary.txt").write_text("mine")
    flags = ["--format", "savedmodel", "--output", target, "--model_weights_path", weight_files, "--overwrite"]
    with pytest.raises(UserError, match="this is a folder"):
        call(*flags)
    assert (target / "diary.txt").read_text() == "mine"
