"""What `test` prints about the errors of a model."""

import numpy as np
import pytest

from common.data.dataset import load_splits
from common.data.layout import LEVELS
from common.media.images import write_png
from common.prediction.testing import print_errors

ALL = "20 25 30\n22 27 32\n"


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (ALL, ["always predicting the training median gives 1.00 QP"] * 3),
        ("JND1\n21\n21\n", ["always predicting the training median gives 1.00 QP"] + ["no training median: "] * 2),
        (None, ["no training median: "] * 3),
    ],
)
def test_the_median_is_that_of_the_levels_that_train_has(train, said, tmp_path, capsys):
    for split, labels in (("train", train), ("test", ALL)):
        for name in "ab":
            write_png(tmp_path / split / f"{name}.png", np.zeros((4, 4, 3), np.uint8))
        if labels:
            (tmp_path / split / "JND-Levels.txt").write_text(labels)
    test = load_splits(tmp_path, ["test"])["test"]
    print_errors(test, LEVELS, np.array([[20, 25, 32], [22, 28, 30]]), tmp_path, "QP")
    lines = capsys.readouterr().out.splitlines()
    errors = ("0.00", "0.50", "2.00")
    for line, level, error, end in zip(lines, LEVELS, errors, said, strict=True):
        assert line.startswith(f"{level}: mean absolute error {error} QP; {end}") and "nan" not in line
