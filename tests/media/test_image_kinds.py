"""Each kind of image is the array that it was written from, or is refused by name."""

import base64
import os
import re

import numpy as np
import pytest
from image_kinds import (
    CMYK,
    GRAY,
    HEIGHT,
    LAB,
    LOSSY,
    OTHERS,
    PALETTE,
    RGB,
    TIFFS,
    WHITE_IS_ZERO,
    WIDTH,
    YCBCR,
    texture,
    write_other,
    write_tiff,
    write_tiff_kind,
)
from PIL import Image, TiffImagePlugin

from common.core.errors import UserError
from common.media.images import animation_warning, read_image

pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")


@pytest.mark.parametrize("kind", TIFFS)
def test_a_tiff_is_the_array_that_it_was_written_from(tmp_path, kind):
    shown = write_tiff_kind(tmp_path / "a.tif", kind)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), shown)


def test_a_colour_map_of_0_to_255(tmp_path):
    """The standard says 0 to 65535; libtiff recognises what some programs write instead."""
    colours = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint16)
    indices = texture(1).astype(np.uint16)
    path = write_tiff(tmp_path / "a.tif", indices, 8, PALETTE, more={320: (3, colours.T.ravel().tolist())})
    np.testing.assert_array_equal(read_image(path), colours[indices[..., 0]])


@pytest.mark.parametrize("orientation, turned", [(3, lambda x: x[::-1, ::-1]), (6, lambda x: np.rot90(x, -1))])
@pytest.mark.parametrize("bits, colour", [(8, GRAY), (16, GRAY), (8, PALETTE), (8, RGB)])
def test_a_tiff_is_turned_as_its_tag_says(tmp_path, bits, colour, orientation, turned):
    samples = texture(3 if colour == RGB else 1)
    more = {274: (3, [orientation]), **({320: (3, [*range(0, 65536, 257)] * 3)} if colour == PALETTE else {})}
    path = write_tiff(
        tmp_path / "a.tif", samples.astype(np.uint16) * (257 if bits == 16 else 1), bits, colour, more=more
    )
    shown = turned(np.broadcast_to(samples, (HEIGHT, WIDTH, 3)))
    np.testing.assert_array_equal(read_image(path), shown)


def test_colours_multiplied_by_alpha_are_divided_by_it(tmp_path):
    samples = texture(4).astype(np.uint16)
    samples[..., 3] = 128
    samples[..., :3] = samples[..., :3] // 2
    path = write_tiff(tmp_path / "a.tif", samples, 8, RGB, more={338: (3, [1])})
    assert np.abs(read_image(path) - samples[..., :3] / 128 * 255).max() <= 1


@pytest.mark.parametrize(
    "channels, bits, colour, options, said",
    [
        (1, 14, GRAY, {}, "14-bit, gray"),
        (1, 12, GRAY, {"order": ">"}, "12-bit, gray, 1 sample a pixel, big-endian"),
        (3, 8, RGB, {"order": ">", "big": True}, "big-endian BigTIFF"),
        (1, 16, WHITE_IS_ZERO, {"order": ">"}, "16-bit, gray (white is zero), 1 sample a pixel, big-endian"),
        (1, 16, GRAY, {"more": {339: (3, [2])}}, "16-bit, signed, gray"),
        (1, 8, GRAY, {"more": {339: (3, [2])}}, "8-bit, signed, gray"),
        (2, 8, GRAY, {"planar": True, "deflate": True, "more": {338: (3, [2])}}, "8-bit, gray, 2 samples a pixel, in"),
        (2, 16, GRAY, {"more": {338: (3, [2])}}, "16-bit, gray, 2 samples"),
        (3, 8, LAB, {}, "8-bit, CIELab"),
        (3, 8, YCBCR, {}, "8-bit, YCbCr"),
        (4, 8, CMYK, {"more": {332: (3, [2])}}, "8-bit, CMYK"),
        (4, 16, CMYK, {"planar": True}, "16-bit, CMYK, 4 samples a pixel, in planes"),
        (3, 12, RGB, {}, "12-bit, RGB"),
        (1, 8, GRAY, {"more": {32997: (4, [2])}}, "8-bit, gray, 1 sample a pixel"),
        (5, 8, RGB, {"planar": True, "more": {338: (3, [0, 0])}}, "8-bit, RGB, 5 samples"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_tiff_that_is_not_known_is_refused_by_name(tmp_path, channels, bits, colour, options, said):
    samples = np.zeros((HEIGHT, WIDTH, channels), np.uint16)
    path = write_tiff(tmp_path / "a.tif", samples, bits, colour, **options)
    with pytest.raises(UserError, match=re.escape(f"a.tif: a TIFF of a kind that is not read ({said}")):
        read_image(path)


def test_a_tiff_of_too_many_samples_is_one_line(tmp_path, run):
    """Pillow logs an error, which Python would print."""
    path = write_tiff(tmp_path / "a.tif", texture(), 8, RGB, more={277: (3, [255])})
    done = run("-c", f"from common.media.images import read_image; read_image({str(path)!r})")
    assert "(8-bit, RGB, 255 samples a pixel)" in done.stderr.splitlines()[-1]
    assert done.stderr.startswith("Traceback")


def test_a_tiff_of_an_unknown_compression_says_so(tmp_path):
    path = write_tiff(tmp_path / "a.tif", texture(), 8, RGB, more={259: (3, [50002])})
    with pytest.raises(UserError, match=r"\(8-bit, RGB, 3 samples a pixel, compression 50002\); save it as PNG"):
        read_image(path)


def test_a_jpeg_2000_whose_colours_pillow_rounds_up_to_black_is_refused(tmp_path):
    white = "|4;u>051Rl000020000200000000000000200002000000000000RpF0Sf^E3jqQDQUDA90003200aa80smY81VCW_WB?@q0Yh?S"
    white += "VRU6=AYyqSPjF>!N>D{dAa-SPb7^mGATlmBE;Rp;015yA0000M00IA#&*TgN%D;es|Je"
    (tmp_path / "a.j2k").write_bytes(base64.b85decode(white))
    with pytest.raises(UserError, match="a JPEG 2000 of 12 bits in more than one channel"):
        read_image(tmp_path / "a.j2k")


def test_a_jpeg_2000_of_signed_samples_is_refused(tmp_path):
    Image.fromarray(texture(1)[..., 0]).save(tmp_path / "a.jp2", signed=True)
    with pytest.raises(UserError, match="a JPEG 2000 of signed samples, which is not read; save it as PNG"):
        read_image(tmp_path / "a.jp2")


@pytest.mark.parametrize("place, value", [(41, 0), (43, 128)])
def test_a_jpeg_2000_whose_channels_differ_is_refused(tmp_path, place, value):
    """Bits of the second, samples in a row of it."""
    Image.fromarray(texture()).save(tmp_path / "a.j2k")
    before, mark, sizes = (tmp_path / "a.j2k").read_bytes().partition(b"\xff\x4f\xff\x51")
    (tmp_path / "a.j2k").write_bytes(before + mark + sizes[:place] + bytes([value]) + sizes[place + 1 :])
    with pytest.raises(UserError, match="a JPEG 2000 of channels with other bits or far fewer samples"):
        read_image(tmp_path / "a.j2k")


@pytest.mark.parametrize("name", OTHERS)
def test_a_lossless_image_is_the_array_that_it_was_written_from(tmp_path, name):
    shown = write_other(tmp_path, name)
    np.testing.assert_array_equal(read_image(tmp_path / name), shown)


@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_image_is_near_the_array_that_it_was_written_from(tmp_path, name):
    shown = write_other(tmp_path, name)
    error = np.abs(read_image(tmp_path / name).astype(int) - shown)
    assert error.mean() < 3 and error.max() < 30


@pytest.mark.parametrize(
    "start, said",
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image, which is not read; save it as PNG"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heix", "a HEIC image"),
        (b"\xff\x0a\xfa", "a JPEG XL image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (b'<?xml version="1.0"?>\n<!-- x -->\n<svg>', "an SVG drawing"),
        (b"%PDF-1.7", "a PDF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "not an image"),
    ],
)
def test_a_kind_that_is_not_read_is_named(tmp_path, start, said):
    (tmp_path / "a.jpg").write_bytes(start + bytes(200))
    with pytest.raises(UserError, match=f"a.jpg: {said}"):
        read_image(tmp_path / "a.jpg")


def test_pages_of_a_tiff_are_said_and_a_thumbnail_is_not_taken_for_the_image(tmp_path):
    first, second = Image.fromarray(texture()), Image.fromarray(255 - texture())
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), texture())
    assert animation_warning(tmp_path / "a.tif") == "only the first of its 2 pages is seen"
    thumbnail = TiffImagePlugin.ImageFileDirectory_v2()
    thumbnail[254] = 1
    first.save(tmp_path / "b.tif", tiffinfo=thumbnail)
    read_image(tmp_path / "b.tif")
    first.save(tmp_path / "b.tif", tiffinfo=thumbnail, save_all=True, append_images=[second])
    with pytest.raises(UserError, match="b.tif: .*its first page is a thumbnail"):
        read_image(tmp_path / "b.tif")


@pytest.mark.parametrize("highest", [1, 100, 255, 300, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_pnm_is_scaled_from_its_highest_value(tmp_path, channels, highest):
    samples = np.rint(texture(channels) / 255 * highest).astype(">u2" if highest > 255 else "u1")
    header = f"P{5 if channels == 1 else 6} {WIDTH} {HEIGHT} {highest}\n".encode()
    (tmp_path / "a.ppm").write_bytes(header + samples.tobytes())
    assert np.abs(read_image(tmp_path / "a.ppm") - samples / highest * 255).max() <= 1


@pytest.mark.parametrize("form, highest, pixels", [("P5", 100, b"\xc8"), ("P6", 1000, b"\1\xff\2\0\3\xe9")])
def test_a_pnm_with_samples_above_its_maximum_is_refused(tmp_path, form, highest, pixels):
    """The standard: "a number from 0 through Maxval"."""
    (tmp_path / "a.pnm").write_bytes(f"{form} 1 2 {highest}\n".encode() + bytes(len(pixels)) + pixels + b"P5 more")
    with pytest.raises(UserError, match=rf"a.pnm: its samples go to \d+, but its header says {highest} at most; save"):
        read_image(tmp_path / "a.pnm")


def test_no_program_is_started_for_an_image(tmp_path, monkeypatch):
    """Pillow would hand an EPS to Ghostscript, whatever the file is called."""
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "a.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(UserError, match="a.jpg: not an image, or of an unknown kind"):
        read_image(tmp_path / "a.jpg")
    assert not (tmp_path / "started").exists()
