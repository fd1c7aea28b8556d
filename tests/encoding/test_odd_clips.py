"""Clips that play, but are odd, are predicted and encoded with each frame and sound in its place (see odd_clips.py)."""

import pandas as pd
import pytest
import small
from odd_clips import CLIPS, check

HANDFUL = ("clip #1.mp4", "raw in.mp4", "joined.ts", "flash of two.mp4", "windows.wmv", "cut off.mkv")


@pytest.mark.parametrize("odd", [pytest.param(odd, id=odd.name[:30]) for odd in CLIPS])
def test_an_odd_clip(tmp_path, odd):
    check(odd, tmp_path)


def test_a_handful_through_the_command(tmp_path, small_weights, capsys):
    """The network does not matter."""
    odd = {clip.name: clip for clip in CLIPS if clip.name in HANDFUL}
    (tmp_path / "in").mkdir()
    for name, clip in odd.items():
        clip.make(tmp_path / "in" / name)
    out = tmp_path / "out"
    flags = ("--frames", "first", "--encode", out, "--model_weights_path", small_weights)
    code = small.call("predict", *(tmp_path / "in" / name for name in HANDFUL), *flags)
    said = capsys.readouterr().err
    assert code == 1 and "windows.wmv: audio stream 1 (wmav2) is converted to FLAC, since .mkv cannot hold it" in said
    assert "cut off.mkv: it is cut short; copy the clip again" in said and said.count("error: ") == 1
    report = pd.read_csv(out / "report.csv")
    assert [path.rsplit("/", 1)[1] for path in report["path"]] == list(HANDFUL[:-1])
    assert list(report["frames"]) == [len(odd[name].times) for name in HANDFUL[:-1]]
    assert (report["vmaf"] > 80).all()
    assert sorted(file.name for file in out.iterdir()) == [
        "clip #1.mp4",
        "flash of two.mp4",
        "joined.ts",
        "raw in.mp4",
        "report.csv",
        "windows.mkv",
    ]
