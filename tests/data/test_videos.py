"""`common.prepare clips`: a dataset made of a user's own videos, of every kind."""

import os

import ffmpeg as graphs
import pandas as pd
import pytest
from moving import PHOTOGRAPHS, make_clip, moving
from PIL import Image

from common.media.ffmpeg_process import find_ffmpeg
from common.media.images import read_image
from common.media.metrics import psnr


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Clips of every kind, sound and broken."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "über uns").mkdir()
    pixels = [moving(image, 12, 120, 90) for image in PHOTOGRAPHS]
    make_clip(folder / "-odd %d.mkv", pixels[0][:, :89, :119], pix_fmt="yuv444p")
    make_clip(folder / "über uns/ten bit.mp4", pixels[1], pix_fmt="yuv420p10le")
    make_clip(folder / "upright.mp4", pixels[2])
    turned = graphs.input(str(folder / "upright.mp4"), display_rotation=90).output(str(folder / "turned.mp4"), c="copy")
    turned.run(cmd=find_ffmpeg(), quiet=True)
    (folder / "upright.mp4").unlink()
    make_clip(folder / "varying.mp4", pixels[3], vf="select=not(between(n\\,2\\,7))", fps_mode="vfr")
    make_clip(folder / "damaged.mp4", moving(PHOTOGRAPHS[0][::-1], 25, 120, 90), crf=5)
    whole = bytearray((folder / "damaged.mp4").read_bytes())
    whole[30000:33000] = b"\x55" * 3000  # a frame and the length of the next
    (folder / "damaged.mp4").write_bytes(whole)
    make_clip(folder / "cut.mkv", moving(PHOTOGRAPHS[1][::-1], 25, 120, 90), crf=5)
    (folder / "cut.mkv").write_bytes((folder / "cut.mkv").read_bytes()[:30000])
    (folder / "text.mp4").write_text("no clip\n" * 99)
    (folder / "same.mkv").write_bytes((folder / "-odd %d.mkv").read_bytes())
    os.symlink(folder / "varying.mp4", os.fsencode(folder) + b"/name \xff.mp4")
    return folder


def prepare(run, videos, root, *flags):
    return run("-m", "common.prepare", "clips", videos, "--data_dir", root, *flags)


def test_clips_with_pseudo_labels(videos, run, tmp_path):
    root = tmp_path / "root"
    result = prepare(run, videos, root, "--size", "80x60", "--split", 3, 1, 1, "--frames", "2,3")
    assert result.returncode == 1 and not result.stderr, result.stderr
    assert "pseudo-labels" in result.stdout and "not human" in result.stdout
    for line in (
        "text.mp4",
        "damaged.mp4",
        "cut.mkv",
        "same.mkv: the same file as -odd %d.mkv",
        "not UTF-8; rename",
        "cut short",
    ):
        assert [said for said in result.stdout.splitlines() if said.startswith("left out") and line in said], line
    table = pd.read_csv(root / "manifest.csv")
    found = {"-odd %d.mkv", "über uns/ten bit.mp4", "turned.mp4", "varying.mp4"}
    assert set(table["clip"]) <= found and set(table["labels"]) == {"pseudo-label (VMAF)"}
    for row in table.to_dict("records"):
        assert read_image(root / row["split"] / row["image"]).shape == (60, 80, 3)
        seconds = row["frame"] / 10 if row["clip"] != "varying.mp4" else (row["frame"] + 6) / 10
        assert row["seconds"] == pytest.approx(seconds)
    assert not list(root.rglob(".part-*"))


def test_clips_with_labels_given(videos, run, tmp_path):
    """They are coded as they are, whatever their kind, and each JND frame is that of its image."""
    labels = tmp_path / "mine.csv"
    rows = [
        "-odd %d.mkv,20,30.5,40",
        "ten bit.mp4,22,32,42",
        "turned.mp4,24,34,44",
        "varying.mp4,21,31,41",
        "no.mp4,1,2,3",
    ]
    labels.write_text("\n".join(["name,JND1,JND2,JND3", *rows]) + "\n", encoding="utf-8-sig")
    root = tmp_path / "root"
    result = prepare(run, videos, root, "--labels", labels, "--frames", "1,4", "--split", 4, 0, 0)
    assert result.returncode == 1 and "mine.csv:6: no.mp4: no such clip" in result.stdout, result.stderr
    assert "pseudo" not in result.stdout
    table = pd.read_csv(root / "manifest.csv")
    assert set(table["labels"]) == {"given (mine.csv)"} and list(table["JND2"].unique()) == [30.5, 34, 31, 32]
    sizes = {
        "-odd %d.mkv": (89, 119),
        "über uns/ten bit.mp4": (90, 120),
        "turned.mp4": (120, 90),
        "varying.mp4": (90, 120),
    }
    for row in table.to_dict("records"):
        raw, *coded = (read_image(root / f"{level}train" / row["image"]) for level in ("", "jnd1", "jnd2", "jnd3"))
        assert raw.shape[:2] == sizes[row["clip"]]
        dbs = [psnr(raw, frame) for frame in coded]
        assert dbs == sorted(dbs, reverse=True) and dbs[0] > 30 and dbs[2] > 18
    assert Image.open(root / "train" / table["image"][0]).format == "PNG"


def test_clips_that_are_all_too_small(videos, run, tmp_path):
    result = prepare(run, videos, tmp_path / "root")
    assert result.returncode == 2 and "--size own keeps its size" in result.stderr
    for name in ("-odd %d.mkv: 119x89", "turned.mp4: 90x120", "varying.mp4: 120x90"):
        assert f"left out: {name} is smaller than 640x360" in result.stderr
