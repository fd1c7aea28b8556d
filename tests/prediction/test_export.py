"""Exported networks as a stranger runs them: by docs/export.md, in each format's own runtime, without this project."""

import hashlib
import json
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import small
from conftest import PROJECT
from golden import seeded
from skimage import data

from common.cli import script
from common.core.errors import UserError
from common.media.images import resize, write_png
from common.prediction import converters, export
from common.prediction.formats import FORMATS
from LAT import LAT
from MTJND import MT_1LJND_VA

RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino", "litert": "ai_edge_litert", "savedmodel": "tensorflow"}
FIRST = {
    "onnx": "import onnxruntime",
    "openvino": "import openvino",
    "litert": "from ai_edge",
    "savedmodel": "import t",
}


def call(*arguments, variant=LAT):
    return script.run_script("", variant, arguments=["export", "--jnd_value", "JND1", *map(str, arguments)])


@pytest.fixture(scope="module")
def keras_levels(weight_files, tmp_path_factory):
    """The levels of photographs of several sizes, as `predict` gives them: {file: QP}."""
    from common import load

    folder = tmp_path_factory.mktemp("photographs")
    photographs = {"small.png": data.chelsea()[:100, :150], "wide.png": data.rocket(), "square.png": data.astronaut()}
    predictor = load("LAT", 1, weight_files)
    levels = {}
    for name, pixels in photographs.items():
        write_png(folder / name, pixels)
        levels[folder / name] = predictor(folder / name).levels["JND1"]
    return levels


def importable(form):
    for module, _ in form.needs:
        pytest.importorskip(module)


@pytest.fixture(scope="module")
def exported(weight_files, tmp_path_factory):
    """Make the file of a format, once, in a folder `models`: its folder."""
    made = {}

    def make(name):
        importable(FORMATS[name])
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            assert call("--format", name, "--output", made[name] / "models", "--model_weights_path", weight_files) == 0
        return made[name]

    return make


def snippets():
    return re.findall("```python\n(.*?)```", (PROJECT / "docs" / "export.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("name", FORMATS)
def test_the_documentations_lines_give_what_predict_gives(name, exported, keras_levels):
    pytest.importorskip(RUNTIMES[name])
    folder = exported(name)
    read, *runs = snippets()
    (run,) = (lines for lines in runs if lines.startswith(FIRST[name]))
    program = "".join(read.replace("image.png", str(path)) + run for path in keras_levels)
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    levels = [float(level) for level in re.findall(r"\[\[([\d.e+-]+)\]\]", done.stdout)]
    assert levels == pytest.approx(list(keras_levels.values()), rel=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_every_file_tells_what_it_is(name, exported, weight_files):
    path = exported(name) / "models" / f"LATJND1{FORMATS[name].suffix}"
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
    run = converters.RUNNERS[name](exported(name) / "models" / f"LATJND1{FORMATS[name].suffix}")
    images = np.stack([resize(np.asarray(data.astronaut()), 640, 352), resize(np.asarray(data.rocket()), 640, 352)])
    by_name = {path.name: level for path, level in keras_levels.items()}
    expected = [[by_name["square.png"]], [by_name["wide.png"]]]
    np.testing.assert_allclose(run(images)["JND1"], expected, rtol=1e-5)


def test_scale_and_size_of_the_other_papers_model_are_inside_too(golden, tmp_path):
    weights = golden.write_weights("MT_1LJND_VA", tmp_path / "MT_JND1_VA.h5")
    call("--format", "savedmodel", "--output", tmp_path, "--model_weights_path", weights, variant=MT_1LJND_VA)
    images = np.ascontiguousarray(seeded.images(270, 480)[..., ::-1])  # the golden ones are B, G, R
    outputs = converters.RUNNERS["savedmodel"](tmp_path / "MT_JND1_VA.savedmodel")(images)
    expected = golden.answers["MT_1LJND_VA"]["outputs"][0]["values"]
    np.testing.assert_allclose(outputs["JND1"], expected, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.float16])
def test_float16_stores_half_the_bytes_and_gives_nearly_the_same(name, tmp_path):
    """A network of 2,048 weights and a bias of 25.337, which float16 would make 25.344."""
    importable(FORMATS[name])
    pytest.importorskip(RUNTIMES[name])
    form, network = FORMATS[name], small.build()
    level = network.get_layer("JND_output")
    level.set_weights([level.get_weights()[0], np.array([25.337])])
    image = np.random.default_rng(0).integers(0, 256, (1, *small.INPUT.shape), dtype=np.uint8)
    expected = network.predict_on_batch(small.INPUT.preprocess(image[0])[None]).item()
    sizes = {}
    for half in (False, True):
        path = tmp_path / str(half) / f"x{form.suffix}"
        path.parent.mkdir()
        served = converters.Served(network, small.INPUT, ["JND1"], form.batch)
        converters.WRITERS[name](served, path, {"model": "small"}, half)
        level = converters.RUNNERS[name](path)(image)["JND1"].item()
        sizes[half] = path.with_suffix(form.companion or form.suffix).stat().st_size
        # LiteRT halves biases too.
        off = 1e-5 if not half else 0.01 if name == "litert" else 0.003
        assert level == pytest.approx(expected, abs=off) and (level != expected or not half)
    assert sizes[True] < sizes[False] - 2048


def test_the_command_says_little_and_its_runtime_need_not_be_there(run, weight_files, tmp_path):
    """A fresh process, in which TensorFlow would talk."""
    where = ["--jnd_value", "JND1", "--output", tmp_path, "--model_weights_path", weight_files]
    done = run("LAT.py", "export", "--format", "litert", *where)
    assert done.returncode == 0 and done.stderr == ""
    first, second = done.stdout.splitlines()
    assert re.match(rf"{tmp_path}/LATJND1.tflite: 39.1 MB, weights .*; its levels are Keras's within .* QP$", first)
    assert second.endswith("docs/export.md")

    done = run("LAT.py", "export", "--format", "litert", *where)
    assert done.returncode == 2 and re.fullmatch(
        r"error: \S+/LATJND1.tflite: exists; give another name, or --overwrite to replace it\n", done.stderr
    )


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
    monkeypatch.setattr(export, "find_spec", lambda module: None)
    with pytest.raises(UserError, match=rf"^--format {name} needs more than requirements.txt: pip install .*{name}=="):
        call("--format", name, "--output", tmp_path / "x", "--model_weights_path", weight_files)


def test_a_file_with_other_levels_is_not_kept(weight_files, tmp_path, monkeypatch):
    """As a converter of another version might make it."""
    from common.media.images import InputFormat

    monkeypatch.setattr(InputFormat, "preprocess_tensor", lambda self, pixels: pixels * self.scale)
    with pytest.raises(UserError, match="QP off those of Keras; it is not kept"):
        call("--format", "savedmodel", "--output", tmp_path, "--model_weights_path", weight_files)
    assert list(tmp_path.iterdir()) == []


def test_overwriting_replaces_a_savedmodel_and_no_other_folder(weight_files, tmp_path):
    target = tmp_path / "x.savedmodel"
    target.mkdir()
    (target / "diary.txt").write_text("mine")
    flags = ["--format", "savedmodel", "--output", target, "--model_weights_path", weight_files, "--overwrite"]
    with pytest.raises(UserError, match="this is a folder"):
        call(*flags)
    assert (target / "diary.txt").read_text() == "mine"
