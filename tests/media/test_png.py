"""PNG by imagecodecs: the pixels, and the verdicts, of Pillow."""

import io
import random
import sys

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from skimage import data

from common.core.errors import UserError
from common.media.images import read_image

imagecodecs = pytest.importorskip("imagecodecs")


@pytest.fixture
def both(tmp_path, monkeypatch):
    """What imagecodecs and what Pillow makes of the bytes of a PNG file: pixels, or what is wrong."""

    def read(content):
        file, results = tmp_path / "image.png", []
        file.write_bytes(content)
        for module in (imagecodecs, None):
            monkeypatch.setitem(sys.modules, "imagecodecs", module)
            try:
                results.append(read_image(file))
            except UserError as error:
                results.append(str(error))
        return results

    return read


def png_of(pixels, mode="RGB", **settings):
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.convert(mode).save(buffer, format="PNG", **settings)
    return buffer.getvalue()


def orientation():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_each_kind_of_png_has_pillows_pixels(both, monkeypatch):
    photograph, calls = data.coffee()[:60, :90], []
    decode = imagecodecs.spng_decode
    monkeypatch.setattr(imagecodecs, "spng_decode", lambda content: calls.append(1) or decode(content))
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "café", zip=True)
    plain = [png_of(photograph), png_of(photograph, compress_level=0), png_of(photograph, pnginfo=text)]
    others = [png_of(photograph, mode) for mode in ("RGBA", "L", "P", "1", "LA")]
    others += [
        png_of(photograph, transparency=tuple(map(int, photograph[0, 0]))),
        png_of(photograph, exif=orientation()),
    ]
    others += [png_of(photograph, save_all=True, append_images=[Image.fromarray(photograph[::-1])])]
    others += [imagecodecs.png_encode(photograph.astype(np.uint16) * 257)]
    for number, content in enumerate([*plain, *others]):
        fast, slow = both(content)
        assert np.array_equal(fast, slow), number
    assert len(calls) >= len(plain)
    assert both(others[6])[0].shape == (90, 60, 3)  # upright


def test_damage_is_pillows_to_judge(both):
    """Never does a file pass that Pillow refuses, whatever byte is wrong or missing."""
    content, choose = png_of(data.coffee()[:40, :60]), random.Random(1)
    for number in range(300):
        damaged, place = bytearray(content), choose.randrange(len(content))
        if number % 3:
            damaged[place] ^= 1 << choose.randrange(8)
        else:
            del damaged[place:]
        fast, slow = both(bytes(damaged))
        assert type(fast) is type(slow) and np.array_equal(fast, slow), (number, place)
