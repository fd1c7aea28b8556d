"""Multiply-accumulates counted from the layers, against the papers' figures."""

import pandas as pd
import pytest

from benchmarks.complexity import multiply_accumulates
from benchmarks.predict import SCRIPTS, scripts_variants
from common import scripts

# As the papers' programs have them; MT_3LJND's is known as "about 39".
GMAC = {"LAT": 8.8, "REC": 90.6, "MJ-LAT": 25.6, "MJ-REC": 130, "MT_3LJND": 39}


@pytest.mark.parametrize("name", GMAC)
def test_multiply_accumulates(name):
    variant = next(value for script in SCRIPTS for _, value in scripts_variants(script) if value.name == name)
    model = scripts.build(variant, 1, [None] * len(variant.backbones))
    assert multiply_accumulates(model, variant.outputs(1)) / 1e9 == pytest.approx(GMAC[name], rel=0.02)


def test_the_table_of_costs(run, tmp_path):
    done = run("-m", "benchmarks.complexity", "--models", "LAT", "--seconds", "0.1", "--csv", tmp_path / "costs.csv")
    assert done.returncode == 0, done.stderr
    row, *others = pd.read_csv(tmp_path / "costs.csv").to_dict("records")
    assert not others and row["model"] == "LAT" and row["parameters"] == 9_783_225
    assert row["trainable"] == 8_337_145  # all but the frozen encoder and the statistics of BatchNormalization
    assert row["weight file MB"] == pytest.approx(4 * row["parameters"] / 1e6, rel=0.01)
    assert 0 < row["ms a picture, batch 8"] and 100 < row["peak MB, batch 1"] <= row["peak MB, batch 8"]
