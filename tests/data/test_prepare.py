"""`common.prepare photos`: a dataset with pseudo-labels made of photographs."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from conftest import PROJECT
from PIL import Image
from skimage import data

from common.core.errors import UserError
from common.core.names import natural_key
from common.data import dataset
from common.data.layout import LEVELS, SPLITS
from common.media.ffmpeg import encode_intra
from common.media.images import read_image
from common.prepare import main

HERE = PROJECT
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
        image = Image.fromarray(pixels)
        image.resize((image.width * 2, image.height * 2), Image.Resampling.LANCZOS).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def made(photos, tmp_path_factory):
    """A dataset of those, two crops each, and what the command printed."""
    root = tmp_path_factory.mktemp("made") / "root"
    result = prepare(photos, "--data_dir", root, "--crops", 2, "--split", 0.5, 0.25, 0.25)
    assert result.returncode == 0, result.stderr
    return root, result.stdout


@pytest.fixture
def refused(capsys):
    """Call the command line inside this process, which must refuse what it is asked: what it says."""

    def refused(*arguments):
        with pytest.raises((UserError, SystemExit)) as error:
            main(["photos", *map(str, arguments)])
        return str(error.value) if error.type is UserError else capsys.readouterr().err

    return refused


def contents(root):
    """Digests of the images, label files and manifest below `root`."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and ".prepare" not in path.parts
    }


def test_the_layout(made):
    root, _ = made
    splits, warnings = dataset.read_splits(root, SPLITS)
    assert [len(splits[name]) for name in SPLITS] == [4, 2, 2] and not warnings
    for split in splits.values():
        for level in LEVELS:
            frames = dataset.match_images(split, root / f"{level.lower()}{split.name}")
            for path in (*split.images, *frames):
                assert path.suffix == ".png" and read_image(path).shape == (360, 640, 3)
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
        rows = rows.sort_values("image", key=lambda names: names.map(natural_key))
        assert np.array_equal(np.loadtxt(root / split / "JND-Levels.txt"), rows[list(LEVELS)])


def test_labels_are_what_they_are_defined_to_be(made):
    """VMAF at the label is at or above the threshold, one QP further it is below; the JND frame is the one coded so."""
    root, _ = made
    for row in pd.read_csv(root / "manifest.csv").iloc[[0, -1]].to_dict("records"):
        frame = read_image(root / row["split"] / row["image"])
        for level, threshold in zip(LEVELS, THRESHOLDS, strict=True):
            here, further = (encode_intra(frame, row[level] + step, with_vmaf=True) for step in (0, 1))
            assert here.vmaf >= threshold > further.vmaf
            assert here.vmaf == pytest.approx(row[f"VMAF at {level}"], abs=1e-5)
            stored = read_image(root / f"{level.lower()}{row['split']}" / row["image"])
            assert np.array_equal(stored, here.pixels)


def test_the_summary_says_what_the_labels_are(made, capsys):
    _, printed = made
    assert "pseudo-labels (VMAF 92, 84, 76), not human ones" in printed and "8 frames made" in printed
    with pytest.raises(SystemExit):
        main(["photos", "--help"])
    said = capsys.readouterr().out
    assert "pseudo-labels" in said and "not human" in said


def test_killed_continued_and_the_same(made, photos, tmp_path, waiting_ffmpeg):
    """Killed in the middle and run again: done frames are kept, and the result is the same to the byte."""
    root = tmp_path / "root"
    arguments = (photos, "--data_dir", root, "--crops", 2, "--split", 0.5, 0.25, 0.25)
    waiting = waiting_ffmpeg(f'[ $(find "{root}/.prepare" -name "*_*.json" | wc -l) -ge 2 ]')
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    killed = command(*arguments, "--jobs", 2)
    process = subprocess.Popen(killed, cwd=HERE, env={**os.environ, "FFMPEG": waiting}, **quiet)
    while len(list(root.glob(".prepare/*_*.json"))) < 2:
        assert process.poll() is None
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


def test_other_settings_are_not_mixed_in(made, photos, refused, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(made[0], root)
    (root / "notes.txt").write_text("mine")
    before = contents(root)
    base = (photos, "--data_dir", root, "--split", 0.5, 0.25, 0.25)
    assert "--crops 2, not 1" in refused(*base, "--crops", 1)
    said = refused(*base, "--crops", 2, "--vmaf", 90, 80, 70)
    assert "--vmaf" in said and "--overwrite" in said
    fewer = tmp_path / "fewer"
    shutil.copytree(photos, fewer)
    Image.fromarray(data.astronaut()).resize((700, 700)).save(fewer / "astronaut.png")
    assert "other photographs" in refused(fewer, *base[1:], "--crops", 2)
    assert contents(root) == before

    result = prepare(*base, "--crops", 1, "--overwrite")
    assert result.returncode == 0, result.stderr
    assert len(list(root.glob("jnd1*/*.png"))) == len(list(root.glob("*/*_1.png"))) // 4 == 4
    assert not list(root.glob("*/*_2.png")) and (root / "notes.txt").read_text() == "mine"


def test_a_dataset_of_an_earlier_version_is_left_alone(photos, refused, tmp_path):
    (tmp_path / ".prepare").mkdir()
    (tmp_path / ".prepare" / "plan.json").write_text(
        '{"made by": "common.prepare photos", "settings": {}, "frames": []}'
    )
    said = refused(photos, "--data_dir", tmp_path, "--overwrite")
    assert "made by an earlier version of this command" in said


def test_a_strangers_dataset_is_left_alone(photos, refused, tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.png").write_bytes(b"")
    for extra in ((), ("--overwrite",)):
        assert "not made by this command" in refused(photos, "--data_dir", tmp_path, *extra)
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
    assert "same pixels.bmp: the same image as astronaut.png" in result.stdout
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
def test_wrong_arguments(photos, refused, tmp_path, arguments, said):
    assert said in refused(photos, "--data_dir", tmp_path / "root", *arguments)
    assert not (tmp_path / "root").exists()


def test_no_photographs(refused, tmp_path):
    for folder, said in ((tmp_path / "none", "no such folder"), (tmp_path, "no photographs")):
        assert said in refused(folder, "--data_dir", tmp_path / "root")
    (tmp_path / "broken.png").write_bytes(b"no image")
    said = refused(tmp_path, "--data_dir", tmp_path / "root")
    assert "0 usable photographs" in said and "broken.png" in said


def test_a_failing_ffmpeg_names_the_photograph(photos, tmp_path):
    fake = tmp_path / "ffmpeg"
    fake.write_text("#!/bin/sh\necho '[error] out of luck' >&2; exit 1\n")
    fake.chmod(0o755)
    result = prepare(photos, "--data_dir", tmp_path / "root", FFMPEG=str(fake))
    assert result.returncode == 2 and "out of luck" in result.stderr and "astronaut.png" in result.stderr
    assert result.stderr.count("\n") == 1 and not list(tmp_path.rglob("JND-Levels.txt"))
