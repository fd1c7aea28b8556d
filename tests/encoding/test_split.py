"""The picture of the README: benchmarks.split."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data

from benchmarks import split
from common.core.errors import UserError
from common.media.ffmpeg import encode_frame, x264_output
from common.media.images import write_png


def test_the_left_half_is_raw_and_the_right_half_encoded(tmp_path):
    image = np.ascontiguousarray(data.coffee()[40:141, 100:251])  # odd sizes
    write_png(tmp_path / "a.png", image)
    encode_frame(image, tmp_path / "a.mp4", 40, x264_output)
    row = {"path": tmp_path / "a.png", "target": tmp_path / "a.mp4", "qp": 40, "bytes": 1234, "vmaf": 60.2}
    pd.DataFrame([row]).to_csv(tmp_path / "report.csv", index=False)
    arguments = ["--encoded", str(tmp_path), "--output", str(tmp_path / "split.png")]
    assert split.main([str(tmp_path / "a.png"), *arguments]) == 0
    picture = np.asarray(Image.open(tmp_path / "split.png")).astype(int)
    assert picture.shape == (101 + split.BAR, 151, 3)
    same = (picture[:101] == image).all(axis=(0, 2))
    assert same[:74].all() and not same[77:].any()
    assert 1 < abs(picture[:101, 77:] - image[:, 77:]).mean() < 20
    with pytest.raises(UserError, match="report.csv: no row of b.png"):
        split.main(["b.png", *arguments])
