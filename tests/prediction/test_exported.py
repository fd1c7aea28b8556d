"""Exported networks in place of weights: predict, test, load and evaluate without TensorFlow and Keras."""

import csv
import io
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import small
from conftest import PROJECT
from skimage import data

from common import load
from common.cli import script
from common.core.errors import UserError
from common.evaluation.trials import find_trials
from common.media.images import read_image, resize, write_png
from common.models import exported
from common.models.weight_search import find_weights
from common.prediction import export_cache, networks
from common.prediction.config import PredictionConfig
from common.weights import main as weights_command
from LAT import LAT

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

NOT_NEEDED = "tensorflow keras h5py av pandas skimage scipy matplotlib imageio_ffmpeg pooch jinja2 onnx".split()
WITHOUT = f"""
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {NOT_NEEDED}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import LAT
from common.cli.script import main
main("", LAT.LAT)
"""


def write_onnx(path, model="LAT", levels=("JND1",), shape=(352, 640, 3), **description):
    """An ONNX file as `export` writes them, whose network gives the mean of R, of G and of B as the levels."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["picture"], ["numbers"], to=kinds.FLOAT),
        helper.make_node("ReduceMean", ["numbers"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Split", ["means", "ones"], [*levels, "rest"], axis=1),
    ]
    ones = onnx.numpy_helper.from_array(np.array([1] * len(levels) + [3 - len(levels)]), "ones")
    inputs = [helper.make_tensor_value_info("picture", kinds.UINT8, ["batch", *shape])]
    outputs = [helper.make_tensor_value_info(level, kinds.FLOAT, ["batch", 1]) for level in levels]
    graph = helper.make_graph(nodes, "means", inputs, outputs, [ones])
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    description = {
        "interface": 1,
        "model": model,
        "precision": "float32",
        "input": {"shape": ["batch", *shape]},
        "outputs": dict.fromkeys(levels, "float32"),
        "weights": {"file": "LATJND1.h5", "sha256": "1234567890abcdef"},
    } | description
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in description.items()}
    helper.set_model_props(network, {key: text for key, text in texts.items() if text != "null"})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(network.SerializeToString())
    return path


@pytest.fixture
def network(tmp_path):
    return write_onnx(tmp_path / "models" / "LATJND1.onnx")


@pytest.fixture
def photographs(tmp_path):
    write_png(tmp_path / "root" / "test" / "a.png", data.astronaut()[:352, :])
    write_png(tmp_path / "root" / "test" / "b.png", np.asarray(data.coffee()))
    (tmp_path / "root" / "test" / "JND-Levels.txt").write_text("20 25 30\n21 26 31.5\n")
    return tmp_path / "root" / "test"


def without_keras(*arguments, **environment):
    command = [sys.executable, "-c", WITHOUT, *map(str, arguments)]
    environment = {name: text for name, text in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | environment
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300)


def rows_of(file):
    with open(file, newline="") as lines:
        return list(csv.DictReader(lines))


def red(path):
    return resize(read_image(path), 640, 352)[..., 0].mean()


def test_predict_needs_neither_tensorflow_nor_keras(network, photographs, tmp_path):
    output = tmp_path / "levels.csv"
    flags, cache = ("--model_weights_path", network.parent, "--output", output), tmp_path / "cache"
    done = without_keras("predict", photographs, *flags, XDG_CACHE_HOME=str(cache))
    assert (done.returncode, done.stderr) == (0, "left out: 1 of other kinds (.txt 1)\n")
    rows = rows_of(output)
    assert [float(row["JND1"]) for row in rows] == pytest.approx([red(row["path"]) for row in rows], rel=1e-5)
    assert [row["by"] for row in rows] == ["LAT 12345678 stretch float32"] * 2
    assert rows[0]["seen"] == "512x352 to 640x352" and "stretched 1.22 times in width" in rows[0]["warning"]
    assert "no QP: JND1" in rows[0]["warning"]
    assert not cache.exists()  # where ONNX Runtime would keep what it reports to its maker


def test_test_needs_neither_and_writes_the_same_table(network, photographs, tmp_path):
    where = ("--data_dir", photographs.parent, "--model_weights_path", network, "--result_path", tmp_path)
    done = without_keras("test", "--jnd_value", "JND1", *where)
    assert done.returncode == 0, done.stderr
    first, second = (tmp_path / "JND1test_results.csv").read_text().splitlines()[1:]
    assert first.startswith("a.png,") and first.endswith(",20.0") and second.endswith(",21.0")
    assert float(first.split(",")[1]) == pytest.approx(red(photographs / "a.png"), rel=1e-5)
    assert "JND1: mean absolute error" in done.stdout
    assert done.stderr.endswith(
        "2 of 2 images have a prediction above 51, which is no QP; are the weights trained, and on QPs?\n"
    )
    assert without_keras("test", "--jnd_value", "JND1", *where, "--plain").returncode == 0
    assert (tmp_path / "JND1test_results.csv").read_text().splitlines() == [first.split(",")[1], second.split(",")[1]]


def test_weights_without_keras_are_refused_in_a_line(photographs, weight_files):
    done = without_keras("predict", photographs / "a.png", "--model_weights_path", weight_files)
    assert done.returncode == 2
    assert done.stderr.startswith("error: weight files (.h5) need h5py: pip install -r requirements.txt; or give")


def test_all_levels_of_a_folder_and_weights_before_exported_files(network, tmp_path, golden):
    assert list(find_weights(LAT, None, network)) == ["JND1"]
    write_onnx(network.with_name("LATJND3.onnx"), levels=["JND3"])
    assert list(find_weights(LAT, None, network.parent)) == ["JND1", "JND3"]
    predictor = load("LAT", weights=network.parent)
    assert predictor.levels == ("JND1", "JND3") and repr(predictor).endswith("on onnxruntime>")
    golden.write_hollow([("layer", [("layer/kernel:0", (2,))])], network.with_name("LATJND2.h5"))
    assert find_weights(LAT, None, network.parent) == {"JND2": network.with_name("LATJND2.h5")}


@pytest.mark.parametrize("resize_mode", ["stretch", "crop", "tiles"])
@pytest.mark.parametrize(("format_name", "runtime"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_an_exported_network_gives_the_predictions_of_its_weights(
    resize_mode, format_name, runtime, small_weights, photographs, tmp_path
):
    pytest.importorskip("tf2onnx")
    pytest.importorskip(runtime)
    file = tmp_path / f"Best{exported.FORMATS[format_name].suffix}"
    small.call("export", "--format", format_name, "--output", file, "--model_weights_path", small_weights)
    images = [data.coffee(), photographs / "a.png", data.astronaut()[:20, :33]]
    predictions = [
        list(load(small.SMALL, weights=weights, resize_mode=resize_mode, batch_size=2).batch(images))
        for weights in (small_weights, file)
    ]
    for expected, prediction in zip(*predictions, strict=True):
        assert prediction.levels["JND1"] == pytest.approx(expected.levels["JND1"], rel=1e-4)
        assert prediction._replace(levels={}, tiles=()) == expected._replace(levels={}, tiles=())
        assert [str(region) for region, _ in prediction.tiles] == [str(region) for region, _ in expected.tiles]


def test_a_file_of_the_version_before_still_works(network):
    write_onnx(network, interface=None)
    assert load("LAT", 1, network)(np.full((9, 9, 3), 30, np.uint8)).levels == {"JND1": 30.0}


def unlike(network, change):
    """What is wrong with the file at `network` after `change`."""
    if change == "no description":
        model = onnx.load(network)
        del model.metadata_props[:]
        network.write_bytes(model.SerializeToString())
    elif change == "cut off":
        network.write_bytes(network.read_bytes()[:-20])
    elif change == "no protobuf":
        network.write_bytes(b"\xff" * 100)
    elif change == "broken inside":
        network.write_bytes(network.read_bytes().replace(b"ReduceMean", b"ReduceMess"))
    else:
        write_onnx(network, **change)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("no description", r"LATJND1.onnx: does not say which model it is; expected a file that .* export"),
        ("cut off", "damaged or cut off; export or copy it again|does not say which model"),
        ("no protobuf", "does not say which model|damaged"),
        ("broken inside", r"onnxruntime cannot run it \(.*ReduceMess.*\); export or copy it again"),
        ({"model": "REC"}, "exported from REC, JND1; expected LAT, JND1$"),
        ({"levels": ["JND2"]}, "exported from LAT, JND2; expected LAT, JND1$"),
        ({"shape": (96, 160, 3)}, "for images of 160x96, expected 640x352; --input_size H W gives another size"),
        ({"interface": 2}, r"made by another version of this project \(interface 2\)"),
    ],
)
def test_what_is_not_this_models_network_is_refused_in_a_line(network, change, line):
    unlike(network, change)
    with pytest.raises(UserError, match=line) as error:
        load("LAT", "JND1", network)
    assert len(str(error.value).splitlines()) == 1


def test_a_number_without_end_is_no_protobuf():
    """A file of 0xFF bytes, as flash memory has where nothing was written, would take hours."""
    with pytest.raises(ValueError):
        exported._varint(io.BytesIO(b"\xff" * 100))
    assert exported._varint(io.BytesIO(b"\xff" * 9 + b"\x01")) == 2**64 - 1


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--backend", "openvino"], "runs on onnxruntime; leave out --backend openvino"),
        (["--backend", "tensorflow"], "runs on onnxruntime; leave out --backend tensorflow"),
        (["--precision", "bfloat16"], "its runtime computes in float32; --precision bfloat16 is for OpenVINO's files"),
    ],
)
def test_flags_that_do_not_fit_are_refused(network, photographs, flags, line):
    arguments = ["predict", photographs / "a.png", "--model_weights_path", network, *flags]
    with pytest.raises(UserError, match=line):
        script.run_script("", LAT, arguments=list(map(str, arguments)))


def test_a_missing_runtime_is_named(network, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="needs onnxruntime to run; pip install onnxruntime==1.31.1"):
        load("LAT", 1, network)


def test_a_cluster_is_asked_for_the_runtime_and_not_for_keras(network):
    worker = pytest.importorskip("common.prediction.worker")
    job = worker.job_of(LAT, {"JND1": network}, PredictionConfig())
    assert job["backend"] == "onnxruntime" and set(job["versions"]) == {"onnxruntime", "numpy", "pillow"}


def test_a_worker_that_sees_other_weights_beside_the_network_refuses(tmp_path):
    worker = pytest.importorskip("common.prediction.worker")
    for suffix in (".xml", ".bin"):
        (tmp_path / f"LATJND1{suffix}").write_text("ours")
    job = worker.job_of(LAT, {"JND1": tmp_path / "LATJND1.xml"}, PredictionConfig())
    (tmp_path / "LATJND1.bin").write_text("theirs")
    with pytest.raises(UserError, match="sees another .*LATJND1.bin; expected a file system that all workers share"):
        worker._predictor(job)


def test_evaluate_finds_exported_networks_where_there_are_no_weights(network, tmp_path, weight_files):
    write_onnx(network.with_name("anything JND2.onnx"), model="REC", levels=["JND2"])
    (network.parent / "JND1Reconstruction.h5").symlink_to(weight_files / "JND1Reconstruction.h5")
    trials, left_out = find_trials(network.parent, tmp_path, tmp_path / "results")
    assert [trial.name for trial in trials] == ["LAT JND1", "REC JND2"] and not left_out
    (network.parent / "LATJND1.h5").symlink_to(weight_files / "LATJND1.h5")
    (network.parent / "other.onnx").write_bytes(b"")
    trials, left_out = find_trials(network.parent, tmp_path, tmp_path / "results")
    assert [trial.weights.name for trial in trials] == ["LATJND1.h5", "anything JND2.onnx"]
    assert "other.onnx" in left_out[0]


def test_a_profile_accounts_for_the_time(run, network, photographs, tmp_path):
    """The parts that benchmarks.profile shows, none of which counts twice."""
    started, image = time.time(), photographs / "a.png"
    flags = ("--model_weights_path", network)
    done = run("-m", "benchmarks.profiled", tmp_path / "times.json", "LAT.py", "predict", image, *flags)
    wall = time.time() - started
    assert done.returncode == 0 and "1 of 1 files" in done.stdout, done.stderr
    rows, threads, begun, ready = json.loads((tmp_path / "times.json").read_text())
    assert rows.pop("build") == 0 and all(seconds > 0 for seconds in (*rows.values(), *threads.values()))
    assert started < begun < ready and ready - started + sum(rows.values()) < wall


@pytest.fixture
def exports(tmp_path, monkeypatch):
    """The exports into a cache of this test's own, which a stand-in makes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = []

    def export(spec, level, weights, format_name, target):
        made.append((spec.name, level, format_name))
        write_onnx(target, model=spec.name, levels=[level])

    monkeypatch.setattr(export_cache, "_export", export)
    return made


def test_weights_are_exported_once_for_a_backend(exports, small_weights, tmp_path, capsys):
    weights, pixels = tmp_path / "LATJND1.h5", np.full((352, 640, 3), 30, np.uint8)
    weights.write_bytes(small_weights.read_bytes())
    arguments = {"weights": weights, "backend": "onnxruntime"}
    assert load("LAT", 1, **arguments)(pixels).levels == {"JND1": 30.0}
    assert capsys.readouterr().err.startswith(f"exporting {weights} for onnx, once; kept in ")
    assert load("LAT", 1, **arguments)(pixels).levels == {"JND1": 30.0}
    assert len(exports) == 1 and not capsys.readouterr().err
    weights.write_bytes(small_weights.read_bytes() + b"\0")  # other weights
    load("LAT", 1, **arguments)
    assert len(exports) == 2
    assert weights_command(["cache"]) == 0
    assert ": 2 exported networks, " in capsys.readouterr().out
    assert weights_command(["cache", "--clear"]) == 0
    assert list((tmp_path / "cache" / "jnd-levels").iterdir()) == []
    load("LAT", 1, **arguments)
    assert len(exports) == 3


def test_what_was_used_the_longest_ago_makes_room(exports, small_weights, tmp_path, monkeypatch):
    files = [tmp_path / f"{number}.h5" for number in range(3)]
    for number, file in enumerate(files):
        file.write_bytes(small_weights.read_bytes() + bytes(number))
    first, second = (export_cache.find(LAT, "JND1", file, "onnx") for file in files[:2])
    os.utime(first.parent, (0, 0))
    os.utime(second.parent, (1, 1))
    export_cache.find(LAT, "JND1", files[0], "onnx")  # now the second is the oldest
    monkeypatch.setattr(export_cache, "ROOM", 2 * first.stat().st_size)
    third = export_cache.find(LAT, "JND1", files[2], "onnx")
    assert (first.exists(), second.exists(), third.exists()) == (True, False, True)
    assert len(exports) == 3

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)  # a read-only cache
    assert export_cache.find(LAT, "JND1", files[2], "onnx") == third


def test_predict_takes_onnx_runtime_where_nobody_chose(exports, small_weights, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.setattr(exported, "missing_packages", lambda *needs: "")

    def backend(**settings):
        return networks.with_fastest_backend(LAT, {"JND1": small_weights}, PredictionConfig(**settings)).backend

    assert backend() == backend() == "onnxruntime" and len(exports) == 1
    assert backend(backend="tensorflow") == "tensorflow" and backend(precision="bfloat16") is None
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert backend() is None
    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr("os.path.exists", lambda path: path == "/dev/nvidiactl")
    assert backend() is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert backend() == "onnxruntime"
    monkeypatch.setattr(exported, "missing_packages", lambda *needs: "tf2onnx")
    assert backend() is None and len(exports) == 1


def test_nothing_is_exported_for_files_that_are_not_there(small_weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(networks, "with_fastest_backend", None)
    flags = ["--model_weights_path", str(small_weights), "--jnd_value", "JND1"]
    assert script.run_script("", LAT, arguments=["predict", str(tmp_path / "no.png"), *flags]) == 1
    assert "no such file; check the path" in capsys.readouterr().err


def test_predict_goes_on_with_keras_where_weights_cannot_be_exported(small_weights, tmp_path, monkeypatch, capsys):
    (tmp_path / "jnd-levels").touch()  # a file where the folder should be
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.setattr(exported, "missing_packages", lambda *needs: "")
    assert networks.with_fastest_backend(LAT, {"JND1": small_weights}, PredictionConfig()).backend is None
    assert capsys.readouterr().err.endswith("computes by Keras\n")


def test_an_export_that_fails_leaves_nothing(small_weights, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def half(spec, level, weights, format_name, target):
        target.parent.mkdir()
        target.write_bytes(b"half")
        raise UserError("the disk is full")

    monkeypatch.setattr(export_cache, "_export", half)
    with pytest.raises(UserError, match="disk is full"):
        load("LAT", 1, small_weights, backend="onnxruntime")
    assert list((tmp_path / "jnd-levels").iterdir()) == []


@pytest.mark.slow
def test_the_public_command_exports_and_predicts_the_same(run, weight_files, photographs, tmp_path):
    pytest.importorskip("tf2onnx")
    tables = []
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "KERAS_BACKEND": ""}
    for backend in (["--backend", "tensorflow"], ["--backend", "onnxruntime"], ["--verbose"]):
        flags = ("--model_weights_path", weight_files, *backend, "--output", tmp_path / "levels.csv")
        done = run("LAT.py", "predict", photographs, *flags, "--overwrite", **environment)
        assert done.returncode == 0, done.stderr
        tables.append(rows_of(tmp_path / "levels.csv"))
    assert "exporting" not in done.stderr and "float32, on onnx" in done.stderr
    for rows in tables[1:]:
        for expected, row in zip(tables[0], rows, strict=True):
            assert float(row.pop("JND1")) == pytest.approx(float(expected["JND1"]), rel=1e-4)
            assert row == {name: value for name, value in expected.items() if name != "JND1"}
