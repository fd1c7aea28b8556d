"""Datasets that commit 6b1d9f6 made are gone on with: the same plan to the byte, and none of their units made again."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skimage import data

from common.core.errors import UserError
from common.data.photographs import build_photos
from common.media.images import write_png
from common.prepare import main

EARLIER = json.loads((Path(__file__).parent / "earlier_datasets.json").read_text())
"""{name: {"plan": plan.json, "records": {name of a file in .prepare: its text}, "manifest": manifest.csv}}, as made by
6b1d9f6 of `write_sources` with the arguments of CALLS."""
CALLS = {
    "photos": ("photos", "photos", "--crops", "2", "--split", "1", "1", "0", "--seed", "3", "--enlarge"),
    "clips": ("clips", "clips", "--size", "96x64", "--frames", "0,2", "--split", "0.5", "0.25", "0.25"),
    "clips with labels": (
        "clips",
        "clips",
        "--labels",
        "clips/mine.csv",
        "--frames",
        "first",
        "--split",
        "3",
        "0",
        "0",
    ),
    "videoset": ("videoset", "videoset", "videoset", "--size", "96x64", "--split", "1", "1", "1", "--label", "mean"),
    "videoset by numbers": ("videoset", "videoset", "videoset", "--size", "96x64", "--clips", "1,3", "2", "none"),
    "mcl-jci": ("mcl-jci", "mcl-jci", "mcl-jci", "--fold", "10"),
    "mcl-jci in QP": ("mcl-jci", "mcl-jci", "mcl-jci", "--unit", "QP", "--label", "quartile", "--split", "3", "0", "0"),
}


def write_sources(folder):
    """What the datasets are made of: the same bytes with every version of Pillow and FFmpeg."""
    coffee = data.coffee()
    write_png(folder / "photos" / "a" / "Größe 1.png", coffee.repeat(2, 0).repeat(2, 1))
    write_png(folder / "photos" / "b.png", data.chelsea())
    (folder / "clips").mkdir()
    (folder / "videoset").mkdir()
    for number, left in enumerate((0, 150, 300), 1):
        shots = [coffee[100 + 2 * step : 164 + 2 * step, left : left + 96] for step in range(4)]
        write_clip(folder / "clips" / f"film {number}.y4m", shots)
        write_clip(folder / "videoset" / f"videoSRC00{number}_96x64_2_qp_00.y4m", shots)
    (folder / "clips" / "mine.csv").write_text(
        "name,JND1,JND2,JND3\nfilm 1.y4m,20,30.5,40\nfilm 2.y4m,21,31,41\nfilm 3.y4m,22,32,42\n"
    )
    for place, qp in (("1st", 22), ("2nd", 28), ("3rd", 33)):
        rows = [f"{number},{qp + number},{qp + number + 1.5}" for number in (1, 2, 3)]
        (folder / "videoset" / f"96x64_{place}.csv").write_text("\n".join(["sequence_index,jnd,mean", *rows]))
    folds, people = [], []
    for number, fold in ((1, 10), (2, 1), (3, 5)):
        image = coffee[:64, 100 * number : 100 * number + 96]
        name = f"ImageJND_SRC{number:02}"
        write_as(folder / "mcl-jci" / f"{name}.bmp", image)
        for qf in range(1, 51):  # worse with a lower one, as JPEGs are
            write_as(folder / "mcl-jci" / name / f"{name}_{qf:03}.jpg", image // (60 - qf) * (60 - qf))
            folds.append(
                [f"SRC{number:02}", f"SRC{number:02}_{qf:03}_1", *(min(qf / n, 1) for n in (50, 40, 30)), fold]
            )
        people += [[number, subject, 30 + 4 * subject, 20 + 2 * subject, 10 + subject] for subject in range(4)]
    columns = ["ref_img", "dist_patch", "first_SUR", "second_SUR", "third_SUR", "set"]
    pd.DataFrame(folds, columns=columns).to_csv(folder / "mcl-jci" / "folds.csv", index=False)
    columns = ["image", "subject", "jnd1_qf", "jnd2_qf", "jnd3_qf"]
    pd.DataFrame(people, columns=columns).to_csv(folder / "mcl-jci" / "people.csv", index=False)


def write_as(path, pixels):
    """Write a PPM file, whatever the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(f"P6 {pixels.shape[1]} {pixels.shape[0]} 255\n".encode() + pixels.tobytes())


def write_clip(path, shots):
    """Write uint8 images (H, W, 3) as a Y4M clip of two frames a second, their green as the luma, without colour."""
    height, width = shots[0].shape[:2]
    gray = np.full(height * width // 2, 128, np.uint8).tobytes()
    frames = [b"FRAME\n" + image[..., 1].tobytes() + gray for image in shots]
    path.write_bytes(f"YUV4MPEG2 W{width} H{height} F2:1 Ip A1:1 C420jpeg\n".encode() + b"".join(frames))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    write_sources(folder)
    return folder


def call(name, root):
    return main([*CALLS[name], "--data_dir", str(root)])


@pytest.mark.parametrize("name", CALLS)
def test_an_earlier_dataset_is_gone_on_with(sources, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(sources)
    earlier, prepared = EARLIER[name], tmp_path / ".prepare"
    prepared.mkdir()
    (prepared / "plan.json").write_text(earlier["plan"])
    for file, text in earlier["records"].items():
        (prepared / file).write_text(text)
        for image in json.loads(text)["files"]:
            (tmp_path / image).parent.mkdir(exist_ok=True)
            (tmp_path / image).touch()
    assert call(name, tmp_path) == 0
    assert f" made, {len(earlier['records'])} were there" in capsys.readouterr().out
    assert (tmp_path / "manifest.csv").read_text() == earlier["manifest"]


@pytest.mark.parametrize("name", CALLS)
def test_a_plan_is_the_same_to_the_byte(sources, tmp_path, monkeypatch, name):
    monkeypatch.chdir(sources)
    monkeypatch.setattr("common.data.builder.DatasetBuilder.run", lambda *arguments, **options: 0)
    assert call(name, tmp_path) == 0
    assert (tmp_path / ".prepare" / "plan.json").read_text() == EARLIER[name]["plan"]


def test_a_dataset_made_from_python_is_the_same(sources, tmp_path, capsys):
    (tmp_path / ".prepare").mkdir()
    (tmp_path / ".prepare" / "plan.json").write_text(EARLIER["photos"]["plan"])
    settings = {"crops": 2, "split": (1, 1, 0), "seed": 3, "enlarge": True}
    assert build_photos(sources / "photos", tmp_path, **settings) == 0
    assert "4 frames made, 0 were there" in capsys.readouterr().out
    with pytest.raises(UserError, match="--crops 2, not 3"):
        build_photos(sources / "photos", tmp_path, **settings | {"crops": 3})
