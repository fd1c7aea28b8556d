"""Multiply-accumulates counted from the layers, against the papers' figures."""

from itertools import product
from unittest.mock import Mock

import keras
import pandas as pd
import pytest

from benchmarks import device, matrix
from benchmarks.complexity import multiply_accumulates
from common.core.errors import UserError
from common.models.backbones import build_network
from common.models.registry import get_model

# As the papers' programs have them; MT_3LJND's is known as "about 39".
GMAC = {"LAT": 8.8, "REC": 90.6, "MJ-LAT": 25.6, "MJ-REC": 130, "MT_3LJND": 39}


@pytest.mark.parametrize("name", GMAC)
def test_multiply_accumulates(name):
    spec = get_model(name)
    assert multiply_accumulates(build_network(spec), spec.levels("JND1")) / 1e9 == pytest.approx(GMAC[name], rel=0.02)


def test_multiply_accumulates_of_a_training_step():
    """Forward, and as many for each gradient that is needed: none of frozen layers, none by the input of the first."""
    image = keras.Input((8, 8, 3))
    frozen = keras.layers.Conv2D(2, 3, padding="same", trainable=False)
    first, last = keras.layers.Conv2D(4, 3, padding="same"), keras.layers.Dense(1)
    network = keras.Model(image, last(keras.layers.Flatten()(first(frozen(image)))))
    assert device.step_multiply_accumulates(network) == 64 * 9 * 3 * 2 + 2 * 64 * 9 * 2 * 4 + 3 * 64 * 4


def test_the_speed_of_a_device(monkeypatch):
    """The levels are those of the released program; from the first step that does not fit on, there are no numbers."""
    (row,) = device.measure_prediction("LAT", "tensorflow", "float32", [1], 0.01)
    assert set(row) == {"batch", *device.PREDICTION, "golden", "device"}
    assert all(row[name] > 0 for name in device.PREDICTION) and row["golden"] < 1e-4

    check_memory = Mock(side_effect=[None, MemoryError("takes too much")])
    monkeypatch.setattr(device, "check_memory", check_memory)
    fits, too_large, larger = device.measure_training("LAT", "tensorflow", "float32", [1, 2, 4], 0.01)
    assert all(fits[name] > 0 for name in device.TRAINING)
    assert (too_large, larger) == ({"problem": "takes too much"}, {})


def test_the_share_of_the_peak_is_that_of_direct_convolution(monkeypatch):
    """Not of our Winograd layer, which takes the place of REC's."""
    monkeypatch.setattr(device, "timings", lambda *_: [1.0])
    monkeypatch.setattr(device, "product_peak", lambda precision: 2e9 * GMAC["REC"])
    (row,) = device.measure_prediction("REC", "tensorflow", "float32", [1], 1)
    assert row["of the peak"] == pytest.approx(1, rel=0.02)


def test_rows_of_other_batch_sizes_stay(tmp_path, capsys):
    chosen = matrix.Matrix([get_model("LAT")], "backend", ["jax"], ["float32"], tmp_path / "a.csv")
    for batch, rate in ((8, 1), (16, 2), (8, 3)):
        chosen.run(["rate"], lambda *_: [{"batch": batch, "rate": rate}], more_key=["batch"])  # noqa: B023
    table = pd.read_csv(tmp_path / "a.csv")
    assert dict(zip(table["batch"], table["rate"])) == {16: 2, 8: 3}
    assert "LAT | jax | float32 | 16 | 2" in capsys.readouterr().out


def test_the_table_of_costs(run, tmp_path):
    """What fails has a row that says why, what was measured before stays, and the next one goes on."""
    (tmp_path / "jax.py").write_text("raise ImportError('broken on purpose')")
    file = tmp_path / "costs.csv"
    before = {"model": ["REC", "LAT"], "backend": ["openvino", "jax"], "precision": "float32", "GMAC": 90.6}
    pd.DataFrame(before).to_csv(file, index=False)
    flags = ("--models", "LAT", "--backends", "jax", "tensorflow", "--seconds", "0.1", "--csv", file)
    done = run("-m", "benchmarks.complexity", *flags, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    kept, failed, row = pd.read_csv(file).to_dict("records")
    assert (kept["model"], kept["backend"], kept["GMAC"]) == ("REC", "openvino", 90.6)
    assert failed["backend"] == "jax" and "broken on purpose" in failed["failed"]
    assert "LAT | jax | float32 | failed: backend jax: broken on purpose" in done.stdout
    assert row["model"] == "LAT" and row["parameters"] == 9_783_225
    assert row["trainable"] == 8_337_145  # all but the frozen encoder and the statistics of BatchNormalization
    assert row["weight file MB"] == pytest.approx(4 * row["parameters"] / 1e6, rel=0.01)
    assert 0 < row["ms a picture, batch 8"] and 100 < row["peak MB, batch 1"] <= row["peak MB, batch 8"]
    assert row["machine"].endswith("cores")


def test_installed_means_every_backend_here_in_both_precisions(monkeypatch):
    monkeypatch.setattr(matrix.importlib.util, "find_spec", lambda name: name != "torch")

    def combinations(*flags):
        options = matrix.make_parser("complexity", "").parse_args(flags)
        return [(spec.name, *rest) for spec, *rest in matrix.matrix_from(options).combinations()]

    expected = product(["LAT"], ("tensorflow", "jax", "openvino"), ("float32", "bfloat16"))
    assert combinations("--backends", "installed", "--models", "LAT") == list(expected)
    assert combinations("--models", "LAT") == [("LAT", "tensorflow", "float32")]
    with pytest.raises(UserError, match="--models LTA: no such model; expected some of LAT REC"):
        combinations("--models", "LTA")
