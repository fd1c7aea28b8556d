"""What benchmarks.throughput measures."""

import pytest
from PIL import Image
from skimage import data

from benchmarks import throughput
from common.core.errors import UserError


def test_a_damaged_picture_among_the_first_does_not_end_the_measurement(tmp_path):
    Image.fromarray(data.coffee()).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    row = throughput.measure("LAT", "tensorflow", "float32", tmp_path, 2)
    assert list(row) == throughput.COLUMNS and min(row.values()) > 0


def test_no_image_that_can_be_read(tmp_path):
    (tmp_path / "1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="none of the first 1 images can be read; give another --photographs"):
        throughput.measure("LAT", "tensorflow", "float32", tmp_path, 2)
