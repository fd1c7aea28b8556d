"""KonJND-1k in its published layout, made up and small: labels of both codecs, one level, and what is refused."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data

from common.core.errors import UserError
from common.data import dataset
from common.data.konjnd import SHEET
from common.evaluation import comparison, provenance
from common.media.images import read_image
from common.models.registry import get_model
from common.prediction.testing import print_errors, write_results
from common.prepare import main
from common.training.targets import read_targets

IMAGES = [data.coffee(), data.astronaut(), data.chelsea(), data.rocket(), data.cat(), data.coffee()[::-1]]
RATINGS = [[30, 34, 38, 41], [20, 22, 24, 27], [31, 35, 38, 40], [25, 26, 29, 30], [44, 45, 46, 47], [28, 30, 33, 36]]


@pytest.fixture(scope="module")
def sheet_and_folder(tmp_path_factory):
    """Three images coded by JPEG, three by BPG, whose levels are here JPEGs of falling QF, decoded."""
    folder = tmp_path_factory.mktemp("KonJND-1k ü")
    for name in ("source_image", "jpeg", "bpg"):
        (folder / name).mkdir()
    rows = []
    for number, (image, ratings) in enumerate(zip(IMAGES, RATINGS), 1):
        name, small = f"SRC{number:04}", Image.fromarray(image[:64, :96])
        small.save(folder / "source_image" / f"{name}.png")
        for level in (1, *range(20, 48)):
            file = io.BytesIO()
            small.save(file, "JPEG", quality=101 - (level if number < 4 else 2 * level))
            if number < 4:
                (folder / "jpeg" / f"{name}_JPEG_{level:03}.jpg").write_bytes(file.getvalue())
            else:
                Image.open(file).save(folder / "bpg" / f"{name}_BPG_{level:03}.png")
        codec = "JPEG" if number < 4 else "BPG"
        rows.append([f"{name}.png", codec, len(ratings), np.mean(ratings), np.std(ratings), str(ratings)])
    columns = ["image_id", "Compression type", "No. of ratings", "mean", "std", "ratings"]
    return pd.DataFrame(rows, columns=columns), folder


class Measured:
    """In place of EncodedImageCache, which would encode."""

    def measure(self, wanted, jobs):
        quality = {"psnr luma": 40, "ssim": 1, "vmaf": 90, "bytes": 1000}
        return {path: (dict.fromkeys(qps, quality), 50.0) for path, qps in wanted.items()}


def make(sheet_and_folder, root, *arguments, **changes):
    """changes: {column: value} of the sheet's last row."""
    sheet, folder = sheet_and_folder
    sheet = sheet.copy()
    for column, value in changes.items():
        sheet.loc[5, column] = value
    sheet.to_csv(folder / SHEET, index=False)
    return main(["konjnd", str(folder), "--data_dir", str(root), "--split", "1", "1", "1", *arguments])


def test_bpg_in_qp(sheet_and_folder, tmp_path, capsys):
    """JND1 alone is written, read, checked, reported and evaluated; JND2 cannot be trained."""
    assert make(sheet_and_folder, tmp_path) == 0
    assert "human (KonJND-1k BPG, quartile), JND1 only, in QP of BPG" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "manifest.csv").set_index("picture").sort_index()
    assert table["JND1"].tolist() == [25.75, 44.75, 29.5] and table["JND2"].isna().all()
    assert table["samples at JND1"].tolist() == list(map(str, RATINGS[3:])) and set(table["unit"]) == {"QP"}
    splits, warnings = dataset.read_splits(tmp_path, ("train", "valid", "test"))
    test = splits["test"]
    assert test.levels == ("JND1",) and not warnings and np.isnan(test.labels[:, 1:]).all()
    frame = dataset.match_images(test, tmp_path / "jnd1test")[0]
    original = sheet_and_folder[1] / "bpg" / table.loc[test.images[0].stem, "source at JND1"]
    assert frame.read_bytes() == original.read_bytes() and read_image(frame).shape == (64, 96, 3)
    assert main(["check", str(tmp_path)]) == 0
    assert "JND2" not in capsys.readouterr().out.split("baseline")[1]

    write_results(tmp_path / "results.csv", test, ["JND1", "JND2"], [[30.0, 35.0]])
    assert (tmp_path / "results.csv").read_text().splitlines()[0] == "image,JND1,JND2,JND1_label"
    print_errors(test, ["JND1", "JND2"], np.array([[30.0, 35.0]]), tmp_path, "QP")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("JND1: mean absolute error") and lines[1] == "JND2: no labels"
    splits = {name: splits[name] for name in ("train", "valid")}
    model = get_model("MJ-LAT")
    with pytest.raises(UserError, match="JND-Levels.txt: no JND2 in it; train a network of JND1 alone"):
        read_targets(model.outputs, splits, tmp_path, model.input)
    evaluated, ratings = comparison.read_data(tmp_path), RATINGS[int(test.images[0].stem[3:]) - 1]
    assert [list(of_level) for of_level in evaluated.samples[test.images[0]]] == [ratings]
    assert provenance._origin(evaluated)[0].startswith("Training medians, which the median baseline predicts: ")
    trial = SimpleNamespace(result=tmp_path / "results.csv", model="LAT", levels=["JND1", "JND2"])
    table = comparison.compare(evaluated, [trial], Measured(), psnr="luma", jobs=1)
    assert table["satisfied"].tolist() == [sum(rating > 30 for rating in ratings) / 4]  # coded at the predicted QP 30


def test_jpeg_in_qf(sheet_and_folder, tmp_path, capsys):
    assert make(sheet_and_folder, tmp_path, "--codec", "JPEG", "--label", "mean") == 0
    assert "JND1 only, in QF; pass --label_unit QF" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "manifest.csv").set_index("picture").sort_index()
    assert table["JND1"].tolist() == [101 - 35.75, 101 - 23.25, 65] and set(table["unit"]) == {"QF"}
    assert table.loc["SRC0001", "samples at JND1"] == "[71, 67, 63, 60]"
    assert table.loc["SRC0001", "source at JND1"] == "SRC0001_JPEG_036.jpg"
    assert main(["check", str(tmp_path)]) == 0


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"mean": 30.5}, "ratings.csv:7: 4 ratings, their mean 31.75, from 28; expected 4, mean 30.5"),
        ({"No. of ratings": 5}, "expected 5, mean 31.75, as the row says, each a whole level from 1 to 51"),
        ({"ratings": "[0, 30, 33, 36]", "mean": 24.75}, "their mean 24.75, from 0; expected 4"),
        ({"ratings": "[28, 30, 33, 52]"}, "ratings are '[28, 30, 33, 52]'; expected a list of numbers from 0 to 51"),
        ({"image_id": "SRC0007.png"}, "left out: SRC0007: no "),
    ],
)
def test_a_row_that_contradicts_itself_is_left_out(sheet_and_folder, tmp_path, capsys, changes, said):
    assert make(sheet_and_folder, tmp_path, "--split", "1", "1", "0", **changes) == 1
    assert said in capsys.readouterr().out and "SRC0006" not in (tmp_path / "manifest.csv").read_text()


@pytest.mark.parametrize(
    "codec, name, other, said",
    [
        ("JPEG", "jpeg/SRC0001_JPEG_033.jpg", "jpeg/SRC0001_JPEG_040.jpg", "by QF 61; expected QF 68, 101 - its level"),
        ("BPG", "bpg/SRC0004_BPG_001.png", "bpg/SRC0004_BPG_030.png", "expected QP 26 to be worse than QP 1"),
    ],
)
def test_files_not_numbered_by_level_are_left_out(sheet_and_folder, tmp_path, capsys, codec, name, other, said):
    file, other = (sheet_and_folder[1] / path for path in (name, other))
    right = file.read_bytes()
    file.write_bytes(other.read_bytes())
    try:
        assert make(sheet_and_folder, tmp_path, "--codec", codec) == 1
    finally:
        file.write_bytes(right)
    assert said in capsys.readouterr().out


def test_a_wrong_sheet(sheet_and_folder, tmp_path):
    with pytest.raises(UserError, match="ratings.csv:7: Compression type is 'WebP'; expected BPG or JPEG"):
        make(sheet_and_folder, tmp_path, **{"Compression type": "WebP"})
    with pytest.raises(UserError, match="ratings.csv:7: image_id SRC0005.png again"):
        make(sheet_and_folder, tmp_path, image_id="SRC0005.png")
    with pytest.raises(UserError, match="ratings.csv:7: image_id is '../SRC0006.png'; expected a name such as SRC0001"):
        make(sheet_and_folder, tmp_path, image_id="../SRC0006.png")
