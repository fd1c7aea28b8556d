import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data

from common import dataset, making, photographs, pseudolabels
from common.errors import UserError
from common.ffmpeg import Coded, code_and_score
from common.images import read_picture

HERE = Path(__file__).parent.parent
THRESHOLDS = (92, 84, 76)


def command(*arguments):
    return [sys.executable, "-m", "common.prepare", "photos", *map(str, arguments)]


def prepare(*arguments, **environment):
    return subprocess.run(
        command(*arguments), cwd=HERE, capture_output=True, text=True, timeout=300, env={**os.environ, **environment}
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four photographs, large enough, in folders and formats of several kinds."""
    folder = tmp_path_factory.mktemp("photographs")
    names = {
        "astronaut.png": data.astronaut(),
        "über uns/coffee %d.jpg": data.coffee(),
        "über uns/chelsea.bmp": data.chelsea(),
        "rocket.tif": data.rocket(),
    }
    for name, pixels in names.items():
        (folder / name).parent.mkdir(exist_ok=True)
        picture = Image.fromarray(pixels)
        picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.LANCZOS).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def made(photos, tmp_path_factory):
    """A dataset of those, two crops each, and what the command printed."""
    root = tmp_path_factory.mktemp("made") / "root"
    result = prepare(photos, "--data_dir", root, "--crops", 2, "--split", 0.5, 0.25, 0.25)
    assert result.returncode == 0, result.stderr
    return root, result.stdout


def contents(root):
    """Digests of the pictures, label files and manifest below `root`."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and ".prepare" not in path.parts
    }


def test_the_layout(made):
    root, _ = made
    splits, warnings = dataset.read_splits(root, making.SPLITS)
    assert [len(splits[name]) for name in making.SPLITS] == [4, 2, 2] and not warnings
    for split in splits.values():
        for level in making.LEVELS:
            frames = dataset.pair(split, root / f"{level.lower()}{split.name}")
            for path in (*split.pictures, *frames):
                assert path.suffix == ".png" and read_picture(path).shape == (360, 640, 3)
    assert not list(root.rglob(".part-*"))


def test_the_manifest_and_no_photograph_in_two_splits(made, photos):
    root, _ = made
    table = pd.read_csv(root / "manifest.csv")
    assert len(table) == 8 and set(table["labels"]) == {"pseudo-label (VMAF)"}
    assert table.groupby("photograph")["split"].nunique().max() == 1
    assert set(table["photograph"]) == {"astronaut.png", "rocket.tif", "über uns/chelsea.bmp", "über uns/coffee %d.jpg"}
    for row in table.itertuples():
        photograph = Image.open(photos / row.photograph)
        assert row.left + row.width <= photograph.width and row.top + row.height <= photograph.height
        assert abs(row.width / row.height - 16 / 9) < 0.01 and row.width >= 640
    for split, rows in table.groupby("split"):  # the label file has the manifest's rows, in natural order of names
        rows = rows.sort_values("image", key=lambda names: names.map(dataset.natural_key))
        assert np.array_equal(np.loadtxt(root / split / "JND-Levels.txt"), rows[list(making.LEVELS)])


def test_labels_are_what_they_are_defined_to_be(made):
    """VMAF at the label is at or above the threshold, one QP further it is below; the JND frame is the one coded so."""
    root, _ = made
    for row in pd.read_csv(root / "manifest.csv").iloc[[0, -1]].to_dict("records"):
        frame = read_picture(root / row["split"] / row["image"])
        for level, threshold in zip(making.LEVELS, THRESHOLDS, strict=True):
            here, further = (code_and_score(frame, row[level] + step) for step in (0, 1))
            assert here.vmaf >= threshold > further.vmaf
            assert here.vmaf == pytest.approx(row[f"VMAF at {level}"], abs=1e-5)
            stored = read_picture(root / f"{level.lower()}{row['split']}" / row["image"])
            assert np.array_equal(stored, here.pixels)


def test_the_summary_says_what_the_labels_are(made):
    _, printed = made
    assert "pseudo-labels (VMAF 92, 84, 76), not human ones" in printed and "8 frames made" in printed
    help_text = prepare("--help").stdout
    assert "pseudo-labels" in help_text and "not human" in help_text


def test_killed_continued_and_the_same(made, photos, tmp_path):
    """Killed in the middle and run again: done frames are kept, and the result is the same to the byte."""
    root = tmp_path / "root"
    arguments = (photos, "--data_dir", root, "--crops", 2, "--split", 0.5, 0.25, 0.25)
    process = subprocess.Popen(command(*arguments), cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(done := list(root.glob(".prepare/*_*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = list(root.glob(".prepare/*_*.json"))
    kept = {name: list(root.glob(f"[!.]*/{name.stem}.png")) for name in done}
    kept = {path: path.stat().st_mtime_ns for paths in kept.values() if len(paths) == 4 for path in paths}
    done = len(kept) // 4  # of the last the record may be there, which is written first, and not yet all the rest
    assert 1 <= done < 8 and not list(root.rglob("JND-Levels.txt"))
    half = root / ".prepare" / "half" / "train"
    half.mkdir(parents=True)
    (half / ".part-1234.png").write_bytes(b"half")

    result = prepare(*arguments)
    assert result.returncode == 0, result.stderr
    assert f"{8 - done} frames made" in result.stdout and f"{done} were there" in result.stdout and not half.exists()
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert contents(root) == contents(made[0])


def test_a_record_counts_only_with_its_files_and_goes_with_its_plan(tmp_path):
    def work(unit, folder):
        (folder / "train").mkdir(parents=True)
        (folder / "train" / "a.png").touch()
        return [{"split": "train", "image": "a.png", "clip": "a", "JND1": 20, "JND2": 25, "JND3": 30}]

    def make(**settings):
        return making.Making(tmp_path, "test", "clip", settings, {}, {}, overwrite=True)

    first = make(size=1)
    assert first.rows("a") is None
    assert first.run(["a"], work, 1, str) == 0
    assert first.rows("a")
    (tmp_path / "train" / "a.png").unlink()
    assert first.rows("a") is None
    assert first.run(["a"], work, 1, str) == 0
    assert make(size=2).rows("a") is None and not (tmp_path / "train" / "a.png").exists()


def test_other_settings_are_not_mixed_in(made, photos, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(made[0], root)
    (root / "notes.txt").write_text("mine")
    before = contents(root)
    base = (photos, "--data_dir", root, "--split", 0.5, 0.25, 0.25)
    result = prepare(*base, "--crops", 1)
    assert (result.returncode, result.stdout) == (2, "") and "--crops 2, not 1" in result.stderr
    result = prepare(*base, "--crops", 2, "--vmaf", 90, 80, 70)
    assert result.returncode == 2 and "--vmaf" in result.stderr and "--overwrite" in result.stderr
    fewer = tmp_path / "fewer"
    shutil.copytree(photos, fewer)
    Image.fromarray(data.astronaut()).resize((700, 700)).save(fewer / "astronaut.png")
    result = prepare(fewer, *base[1:], "--crops", 2)
    assert result.returncode == 2 and "other photographs" in result.stderr
    assert contents(root) == before

    result = prepare(*base, "--crops", 1, "--overwrite")
    assert result.returncode == 0, result.stderr
    assert len(list(root.glob("jnd1*/*.png"))) == len(list(root.glob("*/*_1.png"))) // 4 == 4
    assert not list(root.glob("*/*_2.png")) and (root / "notes.txt").read_text() == "mine"


def test_a_dataset_of_an_earlier_version_is_left_alone(photos, tmp_path):
    (tmp_path / ".prepare").mkdir()
    (tmp_path / ".prepare" / "plan.json").write_text(
        '{"made by": "common.prepare photos", "settings": {}, "frames": []}'
    )
    result = prepare(photos, "--data_dir", tmp_path, "--overwrite")
    assert result.returncode == 2 and "made by an earlier version of this command" in result.stderr


def test_a_strangers_dataset_is_left_alone(photos, tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.png").write_bytes(b"")
    for extra in ((), ("--overwrite",)):
        result = prepare(photos, "--data_dir", tmp_path, *extra)
        assert result.returncode == 2 and "not made by this command" in result.stderr
    assert contents(tmp_path) == {"train/mine.png": hashlib.sha256(b"").hexdigest()}


def test_what_cannot_be_used_is_named(photos, tmp_path):
    folder, root = tmp_path / "photographs", tmp_path / "photographs" / "root"
    shutil.copytree(photos, folder)
    (folder / "broken.jpg").write_bytes((photos / "über uns/coffee %d.jpg").read_bytes()[:5000])
    Image.open(photos / "astronaut.png").save(folder / "same pixels.bmp")
    Image.fromarray(data.chelsea()).save(folder / "small.png")
    arguments = folder, "--data_dir", root, "--crops", 1, "--split", 1, 0, 1
    result = prepare(*arguments)
    assert result.returncode == 1 and result.stderr.count("error") == 0
    assert "broken.jpg: cannot be decoded" in result.stdout
    assert "same pixels.bmp: the same picture as astronaut.png" in result.stdout
    assert "small.png: 451x300 is smaller" in result.stdout and result.stdout.count("not needed for the split") == 2
    assert len(list(root.glob("train/*.png"))) == len(list(root.glob("test/*.png"))) == 1
    assert not (root / "valid").exists()
    again = prepare(*arguments)  # its own frames, below the photographs by now, are none
    assert again.returncode == 1 and "0 frames made, 2 were there" in again.stdout


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--split", 3, 1, 1), "4 usable photographs, but --split needs at least 5"),
        (("--split", 0.7, 0.2, 0.2), "shares that sum to 1"),
        (("--split", "nan", 1, 1), "shares that sum to 1"),
        (("--vmaf", 76, 84, 92), "descending"),
        (("--crops", 0), "at least 1"),
        (("--jobs", "two"), "whole number"),
        (("--unknown", 1), "unrecognized"),
    ],
)
def test_wrong_arguments(photos, tmp_path, arguments, said):
    result = prepare(photos, "--data_dir", tmp_path / "root", *arguments)
    assert result.returncode == 2 and said in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "root").exists()


def test_no_photographs(tmp_path):
    for folder, said in ((tmp_path / "none", "no such folder"), (tmp_path, "no photographs")):
        result = prepare(folder, "--data_dir", tmp_path / "root")
        assert result.returncode == 2 and result.stderr.startswith("error: ") and said in result.stderr
    (tmp_path / "broken.png").write_bytes(b"no picture")
    result = prepare(tmp_path, "--data_dir", tmp_path / "root")
    assert result.returncode == 2 and "0 usable photographs" in result.stderr and "broken.png" in result.stderr


def test_a_failing_ffmpeg_names_the_photograph(photos, tmp_path):
    fake = tmp_path / "ffmpeg"
    fake.write_text("#!/bin/sh\necho '[error] out of luck' >&2; exit 1\n")
    fake.chmod(0o755)
    result = prepare(photos, "--data_dir", tmp_path / "root", FFMPEG=str(fake))
    assert result.returncode == 2 and "out of luck" in result.stderr and "astronaut.png" in result.stderr
    assert result.stderr.count("\n") == 1 and not list(tmp_path.rglob("JND-Levels.txt"))


def test_help_is_quick():
    times = []
    for _ in range(3):  # the best of them, since other work may share the machine
        began = time.monotonic()
        prepare("--help")
        times.append(time.monotonic() - began)
    assert min(times) < 0.5


@pytest.mark.parametrize(
    "count, split, sizes",
    [
        (23, [0.7, 0.15, 0.15], [16, 4, 3]),
        (3, [0.7, 0.15, 0.15], [1, 1, 1]),
        (10, [0.8, 0.2, 0.0], [8, 2, 0]),
        (10, [5.0, 2.0, 1.0], [5, 2, 1]),
        (2, [1.0, 0.0, 0.0], [2, 0, 0]),
    ],
)
def test_split_sizes(count, split, sizes):
    names = [f"p{i}.png" for i in range(count)]
    given = making.assign(names, split, 0)
    assert [list(given.values()).count(name) for name in making.SPLITS] == sizes
    assert given == making.assign(names[::-1], split, 0)
    assert count < 10 or given != making.assign(names, split, 1)


def test_crops_differ_in_place_and_scale():
    boxes = photographs.crop_boxes(1920, 1080, 6, "seed")
    assert len({box[2] for box in boxes}) == len({box[:2] for box in boxes}) == 6
    assert all(640 <= width <= 1920 and abs(height - width * 9 / 16) <= 0.5 for _, _, width, height in boxes)
    assert photographs.crop_boxes(640, 360, 4, "seed") == [(0, 0, 640, 360)]  # no room for a second
    assert photographs.crop_boxes(320, 400, 1, "seed")[0][2:] == (320, 180)


@pytest.mark.parametrize(
    "knees, levels",
    [((24, 31, 35), [24, 31, 35]), ((0, 0, 7), [1, 1, 7]), ((51, 51, 51), [51, 51, 51]), ((20, 20, 20), [20, 20, 20])],
)
def test_the_search(monkeypatch, knees, levels):
    """On curves that cross the thresholds behind `knees`, with far fewer than 51 encodes, none of them twice."""
    asked = []

    def scored(pixels, qp):
        asked.append(qp)
        return Coded(pixels, b"", 60 - qp / 10 + 11 * sum(qp <= knee for knee in knees))

    monkeypatch.setattr("common.ffmpeg.code_and_score", scored)
    found, coded = pseudolabels.find_levels(None, (86, 75, 64))
    assert found == levels and set(levels) <= set(coded)
    assert len(asked) == len(set(asked)) <= 18


def test_a_share_of_nothing_is_refused():
    with pytest.raises(UserError, match="0 usable"):
        making.assign([], [0.7, 0.15, 0.15], 0)


def test_plans_are_stable():
    """Crops and splits of a seed are part of a dataset: they must not change from one version to the next."""
    assert photographs.crop_boxes(1920, 1080, 2, "0 abc") == [(196, 107, 1181, 664), (834, 370, 903, 508)]
    assert making.assign(["a", "b", "c"], [1.0, 1.0, 1.0], 0) == {"c": "train", "a": "valid", "b": "test"}
