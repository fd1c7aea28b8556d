"""Clips that play, but are odd, are predicted and encoded with each frame and sound in its place (see odd_clips.py)."""

import pytest
from odd_clips import CLIPS, check


@pytest.mark.parametrize("odd", CLIPS, ids=[odd.name[:30] for odd in CLIPS])
def test_an_odd_clip(tmp_path, odd):
    check(odd, tmp_path)
