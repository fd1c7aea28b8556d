"""The rootdir layout: the names of its folders and files.  Light to import: each `--help` needs it.

rootdir/train/      images and JND-Levels.txt (see `common.data.labels`); likewise valid/ and test/
rootdir/jnd1train/  the images of train/ coded at JND1, under the same names; likewise jnd2train/, jnd1valid/ ...
"""

from typing import Literal

SPLITS = ("train", "valid", "test")
LEVELS = ("JND1", "JND2", "JND3")
SPLIT_SHARES = (0.7, 0.15, 0.15)  # of the sources, by default
LABEL_FILE = "JND-Levels.txt"
Unit = Literal["QP", "QF"]


def split_folder(split: str, level: str = "") -> str:
    """Return the name of the folder of a split's images, or of its images coded at a level: "train", "jnd1train"."""
    return f"{level.lower()}{split}"
