"""Plots are saved whole or not at all, and leave the user's matplotlib alone."""

import sys

import matplotlib
import pytest
from PIL import Image

from common.core.plotting import png_figure


def test_a_plot_is_whole_or_not_there(tmp_path, monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "backend", "TkAgg")  # would need a screen
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    target = tmp_path / "new" / "plot"
    with png_figure(target, "title", (3, 2)) as figure:
        figure.subplots().plot([1, 2])
        assert not target.exists()
    assert Image.open(target).size == (300, 200)
    with pytest.raises(ZeroDivisionError), png_figure(target.with_name("other.png"), "title", (3, 2)):
        _ = 1 / 0
    assert [path.name for path in target.parent.iterdir()] == ["plot"]
    assert matplotlib.rcParams["backend"] == "TkAgg"
