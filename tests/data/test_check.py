"""`prepare check` finds each thing that spoils a training, and nothing in a sound dataset."""

import shutil
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from conftest import PROJECT
from PIL import Image
from skimage import data

from common.core.errors import UserError
from common.data.inspection import Inspection, find_copies
from common.media.images import write_png
from common.prepare import main

LEVELS = np.array([[22, 27, 31], [24, 28, 33], [26, 30, 34], [23, 29, 35]])
COUNTS = {"train": 4, "valid": 2, "test": 1}
PLACES = [(split, number) for split, count in COUNTS.items() for number in range(1, count + 1)]
WINDOWS = iter([(top, left) for top in (0, 90, 180) for left in (0, 160, 320)])
IMAGES = [data.coffee()[top : top + 90, left : left + 160] for top, left in WINDOWS][:7]


def label(root, levels, splits=COUNTS, **options):
    """Write the first rows of levels as the labels of each split."""
    for split in splits:
        np.savetxt(root / split / "JND-Levels.txt", levels[: COUNTS[split]], fmt="%g", **options)


@pytest.fixture
def root(tmp_path):
    """Seven images that have nothing in common, and frames that get worse with the level."""
    for (split, number), image in zip(PLACES, IMAGES):
        write_png(tmp_path / split / f"{number}.png", image)
        for level, step in ((1, 8), (2, 16), (3, 32)):
            write_png(tmp_path / f"jnd{level}{split}" / f"{number}.png", image // step * step)
    label(tmp_path, LEVELS)
    return tmp_path


def check(root, capsys, *arguments):
    code = main(["check", str(root), *arguments])
    return code, capsys.readouterr().out


def test_a_sound_dataset(root):
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    command = [sys.executable, "-m", "common.prepare", "check", str(root)]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0 and result.stdout.endswith("no fault found\n"), result.stdout + result.stderr
    assert "fault:" not in result.stdout and "remark:" not in result.stdout and "of unknown origin" in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["train", "4", "4", "4", "4", "160x90", "(4)"] in lines
    assert ["test", "1", "1", "1", "1", "160x90", "(1)"] in lines
    # train's median is 23.5: valid's 22 and 24 are 1.5 and 0.5 away
    assert ["JND1", "valid", "23.0", "1.0", "23.0", "22-24", "1.00"] in lines
    assert Image.open(root / "check.png").size > (600, 400)
    assert before == {path: path.read_bytes() for path in before} and not list(root.rglob(".part-*"))


def rename(root):
    shutil.copyfile(root / "train" / "2.png", root / "valid" / "1.png")


def recompress(root):
    Image.open(root / "train" / "2.png").resize((320, 180)).save(root / "valid" / "3.jpg", quality=40)
    (root / "valid" / "JND-Levels.txt").write_text("22 27 31\n24 28 33\n20 30 40\n")


def disorder(root):
    (root / "train" / "JND-Levels.txt").write_text("22 27 31\n30 28 33\n26 30 34\n23 29 35\n")


def swap(root):
    shutil.copyfile(root / "jnd3train" / "2.png", root / "jnd1train" / "2.png")


def mispair(root):
    shutil.copyfile(root / "jnd3valid" / "1.png", root / "jnd3train" / "2.png")


def uncoded(root):
    shutil.copyfile(root / "train" / "3.png", root / "jnd1train" / "3.png")


def qualities(root):
    label(root, 100 - LEVELS)
    for split in COUNTS:
        (root / split / "JND-Levels.txt").write_text((root / split / "JND-Levels.txt").read_text().replace("7", "4"))


def unlabelled(root):
    (root / "train" / "JND-Levels.txt").unlink()


def frameless(root):
    (root / "jnd2train" / "4.png").unlink()


def truncate(root):
    (root / "valid" / "2.png").write_bytes((root / "valid" / "2.png").read_bytes()[:500])


def mix(root):
    (root / "manifest.csv").write_text(
        "split,image,clip,labels\ntrain,1.png,a,human\nvalid,1.png,a,pseudo-label (VMAF)\n"
    )


def manifest(root):
    rows = [f"{split},{number}.png,{','.join(map(str, LEVELS[number - 1]))},human" for split, number in PLACES]
    (root / "manifest.csv").write_text("\n".join(["split,image,JND1,JND2,JND3,labels", *rows]))


def swap_rows(root):
    manifest(root)
    label(root, LEVELS[[0, 2, 1, 3]], ["train"])


def misspell(root):
    manifest(root)
    text = (root / "manifest.csv").read_text()
    (root / "manifest.csv").write_text(text.replace("train,1.png,22", "train,1.png,2Z").replace(",33,", ",,", 1))


def repeat(root):
    manifest(root)
    with open(root / "manifest.csv", "a") as file:
        file.write("\ntrain,2.png,24,28,33,human\n")


def delete(root):
    manifest(root)
    for folder in ("train", "jnd1train", "jnd2train", "jnd3train"):
        (root / folder / "4.png").unlink()
    label(root, LEVELS[:3], ["train"])


def zeros(root):
    label(root, LEVELS * 0, ["train"])


def same_rows(root):
    label(root, LEVELS[[1, 1, 1, 1]], ["train"])


def same_frames(root):
    shutil.copyfile(root / "jnd1train" / "1.png", root / "jnd2train" / "1.png")


def coarse(root):
    pixels = np.asarray(Image.open(root / "train" / "2.png"))
    for level, step in ((1, 16), (2, 32), (3, 64)):
        write_png(root / f"jnd{level}train" / "2.png", pixels // step * step)


def wide(root):
    for folder in ("valid", "jnd1valid", "jnd2valid", "jnd3valid"):
        path = root / folder / "1.png"
        write_png(path, np.pad(np.asarray(Image.open(path)), ((0, 0), (0, 1), (0, 0)), "edge"))


def no_level(root):
    shutil.rmtree(root / "jnd1test")


def mirror(root):
    for folder in ("{}", "jnd1{}", "jnd2{}", "jnd3{}"):
        pixels = np.asarray(Image.open(root / folder.format("train") / "2.png"))
        write_png(root / folder.format("valid") / "1.png", np.ascontiguousarray(pixels[:, ::-1]))


def only_test(root):
    for split in ("train", "valid"):
        for folder in root.glob(f"*{split}"):
            shutil.rmtree(folder)
    (root / "test" / "JND-Levels.txt").unlink()


def garble(root):
    manifest(root)
    (root / "manifest.csv").write_text((root / "manifest.csv").read_text().replace(",", ":"))


@pytest.mark.parametrize(
    "spoil, said",
    [
        (rename, "1 images in two splits: train/2.png = valid/1.png"),
        (recompress, "1 pairs of images alike, in two splits: train/2.png ~ valid/3.jpg"),
        (disorder, "1 rows of levels that do not ascend: train/2.png"),
        (swap, "1 pairs of coded images whose PSNR contradicts their levels: train/2.png JND1 24"),
        (mispair, "1 coded images of another image (PSNR below 15 dB): train/2.png JND3"),
        (uncoded, "1 coded images that are the image itself, not coded: train/3.png JND1"),
        (qualities, "outside 0 to 51"),
        (unlabelled, "train/JND-Levels.txt: no such file"),
        (frameless, "jnd2train: no image for train/4.png"),
        (truncate, "valid/2.png: cannot be decoded"),
        (mix, "labels of two kinds, human and pseudo-label (VMAF)"),
        (mix, "1 clips in two splits: a"),
        (
            swap_rows,
            "2 rows of labels that differ from manifest.csv: train/2.png 26 30 34, there 24 28 33; train/3.png",
        ),
        (misspell, "2 rows of labels that differ from manifest.csv: train/1.png 22 27 31, there 2Z 27 31; train/2.png"),
        (repeat, "1 images that have several rows in manifest.csv: train/2.png"),
        (delete, "1 images of manifest.csv that are not there: train/4.png"),
        (garble, "manifest.csv: no column split and image"),
        (zeros, "4 rows of labels that are all 0: train/1.png"),
        (same_rows, "train/JND-Levels.txt: all 4 rows are 24 28 33; nothing can be learned"),
        (same_frames, "1 pairs of coded images of equal PSNR at different levels: train/1.png JND1 22"),
        (coarse, "1 images whose coded images are all far worse than their labels say: train/2.png by"),
        (wide, "1 images of another size than the 6 of 160x90: valid/1.png 161x90"),
        (no_level, "jnd1test: no such folder, but other splits have one"),
        (mirror, "1 pairs of images alike, mirrored, in two splits: train/2.png ~ valid/1.png"),
        (only_test, "2 folders are not there: train/; valid/"),
    ],
)
def test_what_spoils_a_training(root, capsys, spoil, said):
    spoil(root)
    code, printed = check(root, capsys)
    assert code == 1 and [line for line in printed.splitlines() if line.startswith("fault: ") and said in line], printed


def test_a_manifest_that_agrees_is_no_fault(root, capsys):
    manifest(root)
    code, printed = check(root, capsys)
    assert code == 0 and "remark:" not in printed and "labels in QP, human" in printed


def test_images_that_all_look_alike_take_no_memory():
    """Of 6,000 frames of a still scene, each pair as text took 2 GB; of these 1,500, 130 MB."""
    thumbnail = IMAGES[0][:16, :16, 0].astype(np.float32).ravel()
    thumbnail = (thumbnail - thumbnail.mean()) / np.linalg.norm(thumbnail - thumbnail.mean())
    nothing = [None] * 3
    of_split = [Inspection(f"train/{n}.png", str(n), (9, 9), thumbnail, nothing, nothing, []) for n in range(1500)]
    tracemalloc.start()
    faults, remarks = find_copies({"train": of_split[:1490], "valid": of_split[1490:]})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert faults[0].startswith("14900 pairs of images alike, in two splits: train/0.png ~ train/1490.png; ")
    assert remarks[0].endswith(f" ... and {1490 * 1489 // 2 + 45 - 5} more") and peak < 40e6


def test_levels_in_quality_factors(root, capsys):
    """They descend, and so do the frames; read as the other unit nearly every row is a fault."""
    label(root, 60 - LEVELS)
    assert check(root, capsys, "--label_unit", "QF")[0] == 0
    code, printed = check(root, capsys)
    assert code == 1 and "4 of 4 rows do not ascend; are they QF? Say so by --label_unit QF" in printed
    rows = [f"{split},{number}.png,QF,human" for split, number in PLACES]
    (root / "manifest.csv").write_text("\n".join(["split,image,unit,labels", *rows]))
    code, printed = check(root, capsys)  # the manifest says it
    assert code == 0 and "labels in QF, human" in printed


def test_labels_of_jnd1_alone_where_other_levels_are_coded_too(root, capsys):
    """What is coded at levels without a label is no fault, and no level that is called nan."""
    label(root, LEVELS[:, :1], header="JND1", comments="")
    shutil.copyfile(root / "jnd1train" / "1.png", root / "jnd2train" / "1.png")
    code, printed = check(root, capsys)
    assert code == 0 and "nan" not in printed, printed


def test_levels_that_train_does_not_have_have_no_baseline(root, capsys):
    label(root, LEVELS[:, :1], ["train"], header="JND1", comments="")
    code, printed = check(root, capsys)
    rows = [line.split() for line in printed.splitlines() if line.startswith("JND")]
    baselines = {(level, split): row[-1] for level, split, *row in rows}
    assert code == 0 and "nan" not in printed
    assert baselines["JND2", "valid"] == "-" != baselines["JND1", "valid"] and ("JND2", "train") not in baselines


def test_what_is_only_to_be_looked_at(root, capsys):
    """Means may pass each other by a little (VideoSet has such a row), an image may be twice in one split."""
    (root / "train" / "JND-Levels.txt").write_text("22 27 31\n24 29.47 29.37\n26 30 34\n22 27 31\n")
    shutil.copyfile(root / "jnd2train" / "2.png", root / "jnd3train" / "2.png")  # of the nearest QP, 29
    for folder in ("train", "jnd1train", "jnd2train", "jnd3train"):
        shutil.copyfile(root / folder / "1.png", root / folder / "4.png")
    (root / "test" / "JND-Levels.txt").unlink()
    code, printed = check(root, capsys)
    assert code == 0, printed
    slight = "1 rows of levels that do not ascend, by at most 1 QP: train/2.png"
    for said in (slight, "1 images more than once in a split", "test/JND-Levels.txt: no such file"):
        assert [line for line in printed.splitlines() if line.startswith("remark: ") and said in line], printed


def test_no_dataset_and_no_unit(tmp_path, root):
    with pytest.raises(UserError, match="no train, valid, test folder in it"):
        main(["check", str(tmp_path / "none")])
    (root / "manifest.csv").write_text("image,unit,clip\n1.png,dB,a\n")
    with pytest.raises(UserError, match="manifest.csv: unit 'dB'; expected QP or QF"):
        main(["check", str(root)])
