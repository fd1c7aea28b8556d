"""Clips that play, but are odd, are predicted and encoded with each frame and sound in its place (see odd_clips.py)."""

import pytest
from odd_clips import CLIPS, check


def parameter(odd):
    marks = pytest.mark.xfail(reason=odd.wanting, strict=True) if odd.wanting else ()
    return pytest.param(odd, id=odd.name[:30], marks=marks)


@pytest.mark.parametrize("odd", [parameter(odd) for odd in CLIPS])
def test_an_odd_clip(tmp_path, odd):
    check(odd, tmp_path)
