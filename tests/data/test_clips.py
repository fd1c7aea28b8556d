"""Frames of clips, and the dataset made of VideoSet, under its names."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from conftest import PROJECT
from h264_stream import encode_h264
from moving import PHOTOGRAPHS, make_clip, moving

from common.core.errors import UserError
from common.core.names import natural_key
from common.data import dataset
from common.data.layout import LEVELS
from common.data.videos import LabelledClip
from common.media import clips, ffmpeg
from common.media.ffmpeg_process import find_ffmpeg
from common.media.images import read_image
from common.prepare import main

HERE = PROJECT
COMMAND = [sys.executable, "-m", "common.prepare"]
SHEETS = {"1st": {1: 22, 2: 25, 3: 27, 4: 24}, "2nd": {1: 28, 2: 30, 3: 31, 4: 29}, "3rd": {1: 33, 2: 34, 3: 35, 4: 36}}


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    """VideoSet's four first clips and sheets, as far as 64x48 pixels, 10 frames a second and 25 frames go."""
    folder = tmp_path_factory.mktemp("VideoSet")
    deep = folder / "as it was" / "downloaded ü"
    deep.mkdir(parents=True)
    for number, image in enumerate(PHOTOGRAPHS, 1):
        name = f"videoSRC{number:03}_64x48_10_qp_"
        encode_h264(moving(image, 25), deep / f"{name}00.264", 0, rate=10)
        for sheet in ("1st", "2nd"):  # those of the third level are not there
            qp = SHEETS[sheet][number]
            encode_h264(deep / f"{name}00.264", deep / f"{name}{qp}.264", qp)
    for sheet, levels in SHEETS.items():
        rows = [f'0,{qp},{qp + 2.5},1,"[{qp}, {qp + 1}]",2,{number},1.5,,,' for number, qp in levels.items()]
        header = "anchor,jnd,mean,normality,samples,samples_no,sequence_index,standard_deviation,,,"
        (folder / f"64x48_{sheet}.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def prepare(*arguments):
    return subprocess.run([*COMMAND, *map(str, arguments)], cwd=HERE, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    "choice, rate, numbers",
    [
        ("first", None, [0]),
        ("middle", None, [12]),
        ("1s", None, [0, 10, 20]),
        ("1s", 5, [0, 5, 10, 15, 20]),  # the name of the clip knows better
        ("0.5s", None, [0, 5, 10, 15, 20]),
        ("0,7,24", None, [0, 7, 24]),
        (list(range(0, 25, 2)), None, list(range(0, 25, 2))),
    ],
)
def test_which_frames(downloads, choice, rate, numbers):
    path = next(downloads.rglob("videoSRC001*_00.264"))
    everything = list(ffmpeg.decode_frames(path))
    taken = list(clips.extract_frames(path, choice, rate))
    assert [number for number, _, _ in taken] == numbers
    assert [seconds for _, seconds, _ in taken] == pytest.approx([number / (rate or 10) for number in numbers])
    assert all(np.array_equal(pixels, everything[number]) for number, _, pixels in taken)


def test_more_frames_than_ffmpeg_takes_terms_in_a_row(tmp_path):
    frames = np.repeat(moving(PHOTOGRAPHS[0], 1), 240, axis=0)
    make_clip(tmp_path / "long.mp4", frames)
    numbers = list(range(0, 240, 2))
    assert [number for number, _, _ in clips.extract_frames(tmp_path / "long.mp4", numbers)] == numbers


def test_keyframes_and_scenes(tmp_path):
    shots = np.concatenate([moving(image, 8) for image in PHOTOGRAPHS[:3]])
    make_clip(tmp_path / "cuts.mkv", shots, g=6, sc_threshold=0)
    assert [number for number, _, _ in clips.extract_frames(tmp_path / "cuts.mkv", "scenes")] == [0, 8, 16]
    assert [number for number, _, _ in clips.extract_frames(tmp_path / "cuts.mkv", "keyframes")] == [0, 6, 12, 18]


def test_a_frame_that_is_not_there(downloads):
    path = next(downloads.rglob("videoSRC001*_00.264"))
    with pytest.raises(UserError, match="videoSRC001.*has no frame 25, counted from 0"):
        list(clips.extract_frames(path, "0,25"))
    with pytest.raises(UserError, match="has no frame 500, counted from 0"):
        list(clips.extract_frames(path, "500"))


def test_a_clip_of_another_size_than_its_name(downloads, tmp_path):
    path = next(downloads.rglob("videoSRC001*_00.264"))
    clip = LabelledClip("SRC001", "train", (22, 28, 33), "human", {0: path}, own_size=(50, 64))
    with pytest.raises(UserError, match="_00.264: frames of 64x48; expected 64x50"):
        clip.write("SRC001", "first", tmp_path / "new")


def test_damage_after_the_last_chosen_frame(downloads, tmp_path):
    coded = tmp_path / "coded.mp4"
    make_clip(coded, moving(PHOTOGRAPHS[0], 25), crf=5)
    bytes_ = bytearray(coded.read_bytes())
    middle = len(bytes_) * 3 // 4
    bytes_[middle : middle + 1500] = b"\x55" * 1500
    coded.write_bytes(bytes_)
    path = next(downloads.rglob("videoSRC001*_00.264"))
    clip = LabelledClip("SRC001", "train", (22, 22, 22), "human", {0: path, 22: coded})
    with pytest.raises(UserError, match="decoding .*coded.mp4"):
        clip.write("SRC001", "first", tmp_path / "new")


def test_videoset(downloads, tmp_path, waiting_ffmpeg):
    """Frames, levels, JND frames of the clips that are there and of those that are not, manifest, splits; killed."""
    root = tmp_path / "root"
    arguments = ("videoset", downloads, downloads, "--size", "64x48", "--data_dir", root, "--split", "2", "1", "1")
    waiting = waiting_ffmpeg(f'[ -e "{root}"/.prepare/SRC*.json ]')
    command, quiet = [*COMMAND, *map(str, arguments), "--jobs", "1"], {"stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=HERE, env={**os.environ, "FFMPEG": waiting}, **quiet)

    def made():  # their files reach their places after the record
        records = {path: json.loads(path.read_text())["files"] for path in root.glob(".prepare/SRC*.json")}
        return [path for path, files in records.items() if all((root / file).is_file() for file in files)]

    while not (done := made()):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(done) == 1 and not list(root.rglob("JND-Levels.txt"))
    result = prepare(*arguments)
    assert result.returncode == 0, result.stderr
    assert "left out" not in result.stdout and "4 clips made, 0" not in result.stdout

    splits, warnings = dataset.read_splits(root, ("train", "valid", "test"))
    assert [len(split) for split in splits.values()] == [6, 3, 3] and not warnings
    table = pd.read_csv(root / "manifest.csv")
    assert list(table.groupby("clip")["frame"].agg(list)) == [[0, 10, 20]] * 4
    assert table.groupby("clip")["split"].nunique().max() == 1 and set(table["labels"]) == {
        "human (VideoSet 64x48, jnd)"
    }
    assert set(table["source at JND3"]) == {"coded here"} and "coded here" not in set(table["source at JND2"])
    for row in table[table["frame"] == 10].to_dict("records"):
        number = int(row["clip"][3:])
        reference = next(downloads.rglob(f"videoSRC{number:03}*_00.264"))
        raw = read_image(root / row["split"] / row["image"])
        assert np.array_equal(raw, list(ffmpeg.decode_frames(reference))[10]) and row["seconds"] == 1
        labels = [sheet[number] for sheet in SHEETS.values()]
        assert [row[level] for level in LEVELS] == [row[f"QP at {level}"] for level in LEVELS] == labels
        for level, qp in zip(LEVELS, labels):
            file = tmp_path / "again.264"
            encode_h264(reference, file, qp)
            frame = read_image(root / f"{level.lower()}{row['split']}" / row["image"])
            assert np.array_equal(frame, list(ffmpeg.decode_frames(file))[10])
    train = table[table["split"] == "train"].sort_values("image", key=lambda names: names.map(natural_key))
    assert np.array_equal(splits["train"].labels, train[list(LEVELS)])
    again = prepare(*arguments)
    assert again.returncode == 0 and "0 clips made, 4 were there" in again.stdout
    again = prepare(*arguments, "--label", "mean")
    assert again.returncode == 2 and "made with --label jnd, not mean" in again.stderr
    assert prepare("check", root).returncode == 0


def test_videoset_by_numbers_and_means(downloads, tmp_path):
    """What cannot be used is named, the rest goes on; a mean has the frames of the nearest QP."""
    folder, root = tmp_path / "clips", tmp_path / "root"
    folder.mkdir()
    for path in downloads.rglob("*.264"):
        os.symlink(path, folder / path.name)
    next(folder.glob("videoSRC003*_00.264")).unlink()
    coded = next(folder.glob("videoSRC002*_25.264"))
    cut = coded.read_bytes()[: coded.stat().st_size // 2]
    coded.unlink()
    (folder / "videoSRC002_64x48_10_qp_28.264").write_bytes(cut)  # the QP of its mean
    numbers = ("--clips", "1-2", "3,4", "9")
    options = ("--size", "64x48", "--label", "mean", "--frames", "first", *numbers)
    result = prepare("videoset", folder, downloads, "--data_dir", root, *options)
    assert result.returncode == 1 and not result.stderr, result.stderr
    left_out = [line for line in result.stdout.splitlines() if line.startswith("left out")]
    assert [line for line in left_out if "SRC003: no reference; expected videoSRC003_64x48_10_qp_00.264" in line]
    assert [line for line in left_out if "SRC009: asked for" in line]
    assert [line for line in left_out if "qp_28.264: " in line and "frames, while" in line and "has 25" in line]
    table = pd.read_csv(root / "manifest.csv")
    assert list(table["image"]) == ["SRC001_1.png", "SRC004_1.png"] and list(table["split"]) == ["train", "valid"]
    assert list(table["JND1"]) == [24.5, 26.5] and list(table["QP at JND1"]) == [25, 27]
    assert not list(root.rglob("SRC00[23]*")) and not list(root.rglob("*.264"))


def test_ctrl_c_does_not_wait_for_a_long_clip(downloads, tmp_path):
    """What ffmpeg is at is given up; nothing half made stays."""
    for path in downloads.glob("*.csv"):
        (tmp_path / path.name.replace("64x48", "640x360")).write_bytes(path.read_bytes())
    make_clip(tmp_path / "videoSRC001_640x360_30_qp_00.mp4", moving(PHOTOGRAPHS[1], 1, 640, 360))
    slow, root = tmp_path / "ffmpeg", tmp_path / "root"
    slow.write_text(
        f'#!/bin/sh\nfor a; do case "$a" in *.264) : > "$a"; exec sleep 600;; esac; done\nexec "{find_ffmpeg()}" "$@"\n'
    )
    slow.chmod(0o755)
    arguments = ("videoset", tmp_path, tmp_path, "--data_dir", root, "--split", "1", "0", "0", "--frames", "first")
    how = {"cwd": HERE, "env": {**os.environ, "FFMPEG": str(slow)}, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*COMMAND, *map(str, arguments)], **how)
    while not list(root.rglob("*.264")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=100)[1]
    assert f"kept: {root}; the same command does the rest" in said and process.returncode == 130
    assert sorted(path.name for path in root.rglob("*")) == [".prepare", "plan.json"]


@pytest.mark.parametrize(
    "sheet, arguments, said",
    [
        (None, (), "64x48_2nd.csv: no such file; expected a CSV file with the columns sequence_index, jnd"),
        ("sequence_index,qp\n1,2\n", (), "64x48_2nd.csv: no column jnd"),
        ("sequence_index,jnd\n1,25\n2,x\n", (), "64x48_2nd.csv:3: jnd is 'x'; expected a number from 0 to 51"),
        ("sequence_index,jnd\n1,25\n\n1,26\n", (), "64x48_2nd.csv:4: sequence_index 1 again"),
        ("sequence_index,jnd\n1,25\n", ("--clips", "1-3", "3", "4"), "--clips: 3 is in train and valid"),
        ("sequence_index,jnd\n1,25\n", ("--size", "640x360"), "640x360_1st.csv: no such file"),
        ("sequence_index,jnd\n1,25\n", ("--frames", "0s"), "expected first, middle"),
        ("sequence_index,jnd\n1,25\n", ("--split", "9", "1", "1"), "1 usable clips, but --split needs at least 11"),
    ],
)
def test_videoset_says_what_is_wrong(downloads, tmp_path, capsys, sheet, arguments, said):
    for path in downloads.glob("*.csv"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "64x48_2nd.csv").unlink()
    if sheet:
        (tmp_path / "64x48_2nd.csv").write_text(sheet)
    root = tmp_path / "root"
    options = ("--data_dir", str(root), "--size", "64x48", *arguments)
    with pytest.raises((UserError, SystemExit)) as error:
        main(["videoset", str(downloads), str(tmp_path), *options])
    assert said in (str(error.value) if error.type is UserError else capsys.readouterr().err) and not root.exists()
