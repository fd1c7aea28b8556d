"""MCL-JCI under its names, made small: labels from each kind of sheet, folds, and the two units."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data

from common.core.errors import UserError
from common.data import dataset, mcl_jci
from common.data.layout import LEVELS
from common.evaluation import comparison
from common.media.ffmpeg import encode_intra
from common.media.images import read_image
from common.media.metrics import psnr
from common.prepare import main

IMAGES = {1: data.coffee(), 2: data.astronaut(), 3: data.chelsea(), 4: data.rocket()}
FOLDS = {1: 10, 2: 1, 3: 2, 4: 5}
STEPS = {1: "100 40 30 20 11", 2: "100 45 33 25", 3: "100 38 21 14 9", 4: "100 50 40"}  # the fourth has no third step


def subjects(number):
    """Five subjects' levels: 75 % are content above the fourth of five, and one has no third level."""
    return [[30 + number + 4 * i, 20 + 2 * i, 10 + i if i else ""] for i in (0, 1, 2, 3, 4)]


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return write_downloads(tmp_path_factory.mktemp("MCL-JCI ü"))


def write_downloads(folder):
    """Write images, each at every QF, and sheets of each kind into a folder."""
    sur, samples = [], []
    for number, image in IMAGES.items():
        name, small = f"ImageJND_SRC{number:02}", Image.fromarray(image[:64, :96])
        small.save(folder / f"{name}.bmp")
        (folder / name).mkdir()
        for qf in range(1, 101):
            small.save(folder / name / f"{name}_{qf:03}.jpg", quality=qf)
            ratios = [1 / (1 + np.exp(middle - qf)) for middle in (40 + number, 30, 20)]
            for patch in (1, 2):
                unit = f"SRC{number:02}"
                sur.append([unit, f"{unit}_{patch}", f"{unit}_{qf:03}_{patch}", *ratios, FOLDS[number]])
        samples += [[number, subject, *levels] for subject, levels in enumerate(subjects(number), 1)]
    columns = ["ref_img", "ref_patch", "dist_patch", "first_SUR", "second_SUR", "third_SUR", "set"]
    pd.DataFrame(sur, columns=columns).to_csv(folder / "ten folds.csv", index=False)
    columns = ["image", "subject", "jnd1_qf", "jnd2_qf", "jnd3_qf"]
    pd.DataFrame(samples, columns=columns).to_csv(folder / "people.csv", index=False)
    stairs = pd.DataFrame([[number, len(steps.split()), steps] for number, steps in STEPS.items()])
    stairs.to_csv(folder / "stairs.csv", index=False, header=["image", "n_levels", "qf_levels"])
    return folder


@pytest.mark.parametrize(
    "label, ratio, levels",
    [
        ("sur", 0.75, (43, 32, 22)),  # the logistic curve passes 0.75 1.1 above its middle
        ("sur", 0.5, (41, 30, 20)),
        ("quartile", None, (43, 26, 13.25)),
        ("median", None, (39, 24, 12.5)),
        ("mean", None, (39, 24, 12.5)),
        ("stairs", None, (40, 30, 20)),
    ],
)
def test_labels(downloads, label, ratio, levels):
    assert mcl_jci.read_levels(downloads, label, ratio)[1] == pytest.approx(levels)


def make(downloads, root, *arguments):
    return main(["mcl-jci", str(downloads), str(downloads), "--data_dir", str(root), *arguments])


def test_qf_as_it_is(downloads, tmp_path, capsys):
    """Labels in QF, which descend; the frames are the JPEGs themselves; folds; and the programs read it as QF."""
    assert make(downloads, tmp_path) == 0
    assert "human (MCL-JCI, sur 0.75), in QF; pass --label_unit QF" in capsys.readouterr().out
    splits, warnings = dataset.read_splits(tmp_path, ("train", "valid", "test"), unit="QF")
    names = {name: [image.name for image in split.images] for name, split in splits.items()}
    assert (
        names == {"train": ["SRC01.png", "SRC04.png"], "valid": ["SRC03.png"], "test": ["SRC02.png"]} and not warnings
    )
    assert splits["train"].labels.tolist() == [[43, 32, 22], [46, 32, 22]]
    for level, qf in zip(LEVELS, (45, 32, 22)):
        frame = dataset.match_images(splits["valid"], tmp_path / f"{level.lower()}valid")[0]
        original = downloads / "ImageJND_SRC03" / f"ImageJND_SRC03_{qf:03}.jpg"
        assert frame.read_bytes() == original.read_bytes()
    image = read_image(downloads / "ImageJND_SRC03.bmp")
    assert np.array_equal(read_image(splits["valid"].images[0]), image)
    table = pd.read_csv(tmp_path / "manifest.csv")
    assert set(table["unit"]) == {"QF"} and table["JND1"].equals(table["QF at JND1"])
    assert list(table["samples at JND3"]) == [str([11, 12, 13, 14])] * 4  # the first subject has none
    assert main(["check", str(tmp_path)]) == 0


def test_qp_of_the_nearest_psnr(downloads, tmp_path, capsys):
    """Of the labels and, for the evaluation's satisfied subjects, of their samples."""
    assert make(downloads, tmp_path, "--unit", "QP", "--split", "0", "0", "4") == 0
    assert "computed from human QF" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "manifest.csv")
    assert set(table["unit"]) == {"QP"} and list(table["QF at JND1"]) == [43, 44, 45, 46]
    row = table.iloc[0]
    image = read_image(downloads / "ImageJND_SRC01.bmp")
    coded = {qp: psnr(image, encode_intra(image, qp).pixels) for qp in range(1, 52)}

    def of_jpeg(qf):
        """(PSNR, QP)."""
        db = psnr(image, read_image(downloads / "ImageJND_SRC01" / f"ImageJND_SRC01_{qf:03}.jpg"))
        return round(db, 2), min(coded, key=lambda qp: abs(coded[qp] - db))

    for level, qf in zip(LEVELS, (43, 32, 22)):
        assert (row[f"PSNR at {level}"], row[level]) == of_jpeg(qf)
    data = comparison.read_data(tmp_path, None)
    assert (np.diff(data.split.labels) > 0).all()
    for column, found in enumerate(data.samples[tmp_path / "test" / "SRC01.png"]):
        assert found.tolist() == [of_jpeg(row[column])[1] for row in subjects(1) if row[column]]


def test_what_cannot_be_used_is_named(downloads, tmp_path, capsys):
    folder = tmp_path / "images"
    for path in downloads.rglob("*.*"):
        target = folder / path.relative_to(downloads)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
    (folder / "ImageJND_SRC03" / "ImageJND_SRC03_038.jpg").unlink()
    (folder / "ImageJND_SRC01" / "ImageJND_SRC01_035.jpg").unlink()  # which only a subject's sample asks for
    (folder / "ImageJND_SRC02.bmp").unlink()
    (folder / "ImageJND_SRC02.bmp").write_bytes((downloads / "ImageJND_SRC02.bmp").read_bytes()[:3000])
    root = tmp_path / "root"
    assert make(folder, root, "--label", "stairs", "--unit", "QP", "--split", "2", "0", "0") == 1
    printed = capsys.readouterr().out
    assert "left out: SRC03: no ImageJND_SRC03_038.jpg" in printed
    assert "left out: SRC04: no JND3 in the label sheet" in printed
    assert "left out: SRC01: the subjects' samples; no ImageJND_SRC01_035.jpg" in printed
    assert "ImageJND_SRC02.bmp: cannot be decoded" in printed
    assert [path.name for path in root.rglob("*.png")] == ["SRC01.png"]
    assert "samples at JND1" not in pd.read_csv(root / "manifest.csv")


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--fold", "6"), "fold 6: no image for valid and test; choose another --fold, or --split"),
        (("--fold", "11"), "from 1 to 10"),
        (("--ratio", "75"), "a share between 0 and 1"),
    ],
)
def test_what_is_wrong_is_said(downloads, tmp_path, capsys, arguments, said):
    with pytest.raises((UserError, SystemExit)) as error:
        make(downloads, tmp_path / "root", *arguments)
    assert said in (str(error.value) if error.type is UserError else capsys.readouterr().err)


@pytest.mark.parametrize(
    "text, label, said",
    [
        ("image,n_levels,qf_levels\n1,3,100 40 50\n", "stairs", r"a.csv:2: qf_levels is '100 40 50'"),
        (
            "image,subject,jnd1_qf,jnd2_qf,jnd3_qf\n1,1,30,200,\n",
            "mean",
            "a.csv:2: jnd2_qf is '200'; expected a number",
        ),
        ("image,subject,jnd1_qf,jnd2_qf,jnd3_qf\n,1,30,20,\n", "mean", "a.csv:2: image is ''; expected a whole number"),
        ("image,n_levels,qf_levels\n1.5,3,100 40\n", "stairs", "a.csv:2: image is '1.5'; expected a whole number"),
        ("picture,level\n1,2\n", "sur", "no CSV file has the columns ref_img"),
    ],
)
def test_wrong_sheets(tmp_path, text, label, said):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        mcl_jci.read_levels(tmp_path, label, 0.75)
