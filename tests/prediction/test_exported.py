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
from onnx_files import onnx, write_onnx
from skimage import data

from common import load
from common.cli import script
from common.core.errors import UserError
from common.evaluation.trials import find_trials
from common.media.images import read_image, resize, write_png
from common.models import exported
from common.models.weight_search import find_weights
from common.prediction.config import PredictionConfig
from LAT import LAT

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


@pytest.fixture
def network(tmp_path):
    return write_onnx(tmp_path / "models" / "LATJND1.onnx")


@pytest.fixture
def split_folder(tmp_path):
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


def test_predict_needs_neither_tensorflow_nor_keras(network, split_folder, tmp_path):
    output = tmp_path / "levels.csv"
    flags, cache = ("--model_weights_path", network.parent, "--output", output), tmp_path / "cache"
    done = without_keras("predict", split_folder, *flags, XDG_CACHE_HOME=str(cache))
    assert (done.returncode, done.stderr) == (0, "left out: 1 of other kinds (.txt 1)\n")
    rows = rows_of(output)
    assert [float(row["JND1"]) for row in rows] == pytest.approx([red(row["path"]) for row in rows], rel=1e-5)
    assert [row["by"] for row in rows] == ["LAT 12345678 stretch float32"] * 2
    assert rows[0]["seen"] == "512x352 to 640x352" and "stretched 1.22 times in width" in rows[0]["warning"]
    assert "no QP: JND1" in rows[0]["warning"]
    assert not cache.exists()  # where ONNX Runtime would keep what it reports to its maker


def test_test_needs_neither_and_writes_the_same_table(network, split_folder, tmp_path):
    where = ("--data_dir", split_folder.parent, "--model_weights_path", network, "--result_path", tmp_path)
    done = without_keras("test", "--jnd_value", "JND1", *where)
    assert done.returncode == 0, done.stderr
    first, second = (tmp_path / "JND1test_results.csv").read_text().splitlines()[1:]
    assert first.startswith("a.png,") and first.endswith(",20.0") and second.endswith(",21.0")
    assert float(first.split(",")[1]) == pytest.approx(red(split_folder / "a.png"), rel=1e-5)
    assert "JND1: mean absolute error" in done.stdout
    assert done.stderr.endswith(
        "2 of 2 images have a prediction above 51, which is no QP; are the weights trained, and on QPs?\n"
    )
    assert without_keras("test", "--jnd_value", "JND1", *where, "--plain").returncode == 0
    assert (tmp_path / "JND1test_results.csv").read_text().splitlines() == [first.split(",")[1], second.split(",")[1]]


def test_weights_without_keras_are_refused_in_a_line(split_folder, weight_files):
    done = without_keras("predict", split_folder / "a.png", "--model_weights_path", weight_files)
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
    resize_mode, format_name, runtime, small_weights, split_folder, tmp_path
):
    pytest.importorskip("tf2onnx")
    pytest.importorskip(runtime)
    file = tmp_path / f"Best{exported.FORMATS[format_name].suffix}"
    small.call("export", "--format", format_name, "--output", file, "--model_weights_path", small_weights)
    images = [data.coffee(), split_folder / "a.png", data.astronaut()[:20, :33]]
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
def test_flags_that_do_not_fit_are_refused(network, split_folder, flags, line):
    arguments = ["predict", split_folder / "a.png", "--model_weights_path", network, *flags]
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


def test_a_profile_accounts_for_the_time(run, network, split_folder, tmp_path):
    """The parts that benchmarks.profile shows, none of which counts twice."""
    started, image = time.time(), split_folder / "a.png"
    flags = ("--model_weights_path", network)
    done = run("-m", "benchmarks.profiled", tmp_path / "times.json", "LAT.py", "predict", image, *flags)
    wall = time.time() - started
    assert done.returncode == 0 and "1 of 1 files" in done.stdout, done.stderr
    rows, threads, begun, ready = json.loads((tmp_path / "times.json").read_text())
    assert rows.pop("build") == 0 and all(seconds > 0 for seconds in (*rows.values(), *threads.values()))
    assert started < begun < ready and ready - started + sum(rows.values()) < wall


@pytest.mark.slow
def test_the_public_command_exports_and_predicts_the_same(run, weight_files, split_folder, tmp_path):
    pytest.importorskip("tf2onnx")
    tables = []
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "KERAS_BACKEND": ""}
    for backend in (["--backend", "tensorflow"], ["--backend", "onnxruntime"], ["--verbose"]):
        flags = ("--model_weights_path", weight_files, *backend, "--output", tmp_path / "levels.csv")
        done = run("LAT.py", "predict", split_folder, *flags, "--overwrite", **environment)
        assert done.returncode == 0, done.stderr
        tables.append(rows_of(tmp_path / "levels.csv"))
    assert "exporting" not in done.stderr and "float32, on onnx" in done.stderr
    for rows in tables[1:]:
        for expected, row in zip(tables[0], rows, strict=True):
            assert float(row.pop("JND1")) == pytest.approx(float(expected["JND1"]), rel=1e-4)
            assert row == {name: value for name, value in expected.items() if name != "JND1"}
