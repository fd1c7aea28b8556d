"""Multiply-accumulates counted from the layers, against the papers' figures."""

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
