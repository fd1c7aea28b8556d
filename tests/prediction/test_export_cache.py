"""Weights that `predict` exports by itself, once, for a faster runtime: the cache, its size, and what goes wrong."""

import os

import numpy as np
import pytest
from onnx_files import write_onnx

from common import load
from common.cli import script
from common.core.errors import UserError
from common.models import exported
from common.prediction import export_cache, networks
from common.prediction.config import PredictionConfig
from common.weights import main as weights_command
from LAT import LAT


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
