"""Damage of images is never passed over, and what only resembles it is read."""

import io
import re
import subprocess
import zlib

import numpy as np
import pytest
import tifffile
from image_kinds import GRAY, RGB, texture, write_tiff
from PIL import Image

from common.core.errors import UserError
from common.media.ffmpeg_process import find_ffmpeg
from common.media.images import read_image

pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")


@pytest.mark.parametrize(
    "name, change, said",
    [
        ("a.gif", lambda data: data[:40] + bytes(3) + data[40:], "damaged (unknown bytes before its first frame)"),
        ("a.bmp", lambda data: data[:-1], "damaged (coded data is missing)"),
        ("a.tif", lambda data: data.replace(b"\x17\1\4\0", b"\x17\2\4\0"), "damaged (coded data is missing)"),
        ("a.tif", lambda data: data.replace(b"\x11\1\4\0\1\0\0\0\x08", b"\x11\1\4\0\1\0\0\0\0"), "damaged (coded"),
        ("tiles.tif", lambda data: data[:-1], "damaged (coded data is missing)"),
        ("tiles.tif", lambda data: data.replace(b"\1\0\0\0\x25", b"\1\0\0\0\xff"), "damaged (coded"),
    ],
)
def test_bytes_that_moved_or_are_missing_are_noticed(tmp_path, name, change, said):
    """Pillow skips or replaces them, so that colours or rows would be wrong."""
    sound = io.BytesIO()
    if name == "tiles.tif":
        tifffile.imwrite(sound, texture(), tile=(16, 16))
    elif name == "a.tif":
        sound.write(write_tiff(tmp_path / name, texture(1), 8, GRAY).read_bytes())
    else:
        Image.fromarray(texture()).convert("P").save(sound, name[2:])
    (tmp_path / name).write_bytes(change(sound.getvalue()))
    with pytest.raises(UserError, match=re.escape(said)):
        read_image(tmp_path / name)


@pytest.mark.parametrize("length", [2, 3, 4, 8, 12, 14])
def test_a_ppm_that_ends_in_its_header_is_refused(tmp_path, length):
    (tmp_path / "a.ppm").write_bytes(b"P6 33 20 255\n"[:length] + b"\0" * (length == 14))
    with pytest.raises(UserError, match="a.ppm: cannot be decoded .*: damaged, cut short"):
        read_image(tmp_path / "a.ppm")


def photo():
    """Of 300 x 200, with enough detail that its coded data has no run of zeros."""
    y, x = np.mgrid[:200, :300]
    noise = np.random.default_rng(0).normal(0, 25, (200, 300, 1))
    return np.clip(np.stack([x / 2 + 50, y, 250 - x / 2], axis=-1) + noise, 0, 255).astype(np.uint8)


def cut(data):
    return data[: len(data) * 55 // 100] + b"\xff\xd9"


def zero_tail(data):
    return data[: len(data) * 55 // 100].ljust(len(data) - 2, b"\0") + b"\xff\xd9"


def zero_middle(data):
    return data[: len(data) // 2] + bytes(2000) + data[len(data) // 2 + 2000 :]


JPEGS = {
    "baseline": {},
    "fine": {"quality": 97, "subsampling": 0},
    "optimized": {"optimize": True},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
}


@pytest.mark.parametrize("damage", [cut, zero_tail, zero_middle], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_damaged_jpeg_that_decodes_is_named(tmp_path, mode, options, damage):
    path = tmp_path / "a.jpg"
    Image.fromarray(photo()).convert(mode).save(path, **options)
    read_image(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="a.jpg: damaged|a.jpg: cannot be decoded"):
        read_image(path)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_progressive_jpeg_without_its_last_scan_is_named(tmp_path, mode):
    path = tmp_path / "a.jpg"
    Image.fromarray(photo()).convert(mode).save(path, progressive=True)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"\xff\xc4")] + b"\xff\xd9")  # before the Huffman table of that scan
    with pytest.raises(UserError, match=r"a.jpg: damaged \(coded data is missing\)"):
        read_image(path)


CRC_OF_ABCD = zlib.crc32(b"ABCD").to_bytes(4, "big")


def other_chunk(data, name, new):
    """A PNG with other bytes in place of a chunk, whose length, name, data and checksum `new` gets."""
    start = data.index(name) - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    return data[:start] + new(data[start:end]) + data[end:]


@pytest.mark.parametrize(
    "mode, name, new, said",
    [
        ("RGB", b"IDAT", lambda chunk: chunk[:-4] + bytes(4), r"damaged \(a wrong checksum\)"),
        ("1", b"IDAT", lambda chunk: chunk[:-4] + bytes(4), r"damaged \(a wrong checksum\)"),
        ("P", b"PLTE", lambda chunk: b"", r"damaged \(its palette is missing\)"),
        ("RGB", b"IDAT", lambda chunk: bytes(4) + b"ABCD" + CRC_OF_ABCD + chunk, r"damaged \(an unknown chunk ABCD\)"),
        ("RGB", b"IHDR", lambda chunk: b"\0\0\0\4CgBI" + bytes(8) + chunk, "a PNG of Apple's own form"),
        ("RGB", b"IHDR", lambda chunk: chunk[:-4] + bytes(4), "its header is damaged"),
    ],
)
def test_a_png_that_pillow_guesses_at_is_refused(tmp_path, mode, name, new, said):
    path = tmp_path / "a.png"
    Image.fromarray(photo()).convert(mode).save(path)
    read_image(path)
    path.write_bytes(other_chunk(path.read_bytes(), name, new))
    with pytest.raises(UserError, match=f"a.png: {said}"):
        read_image(path)


@pytest.mark.parametrize("suffix, options", [("avif", {}), ("webp", {}), ("webp", {"lossless": True}), ("jp2", {})])
def test_zeros_in_an_avif_webp_or_jpeg_2000_are_named(tmp_path, suffix, options):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x010E] = "\0" * 300  # zeros that belong there
    Image.fromarray(photo()).save(path, exif=exif, **options)
    read_image(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2].ljust(len(data) - 2, b"\0") + b"\xff\xd9")
    with pytest.raises(UserError, match=f"a.{suffix}: damaged|a.{suffix}: cannot be decoded"):
        read_image(path)


def test_an_avif_with_one_wrong_byte_is_refused(tmp_path):
    """AV1 has no checksum, and dav1d makes a picture of anything; OpenCV's libaom refuses it."""
    if "libaom-av1" not in subprocess.run([find_ffmpeg(), "-decoders"], capture_output=True, text=True).stdout:
        pytest.skip("needs an FFmpeg with libaom")
    path = tmp_path / "a: 100% ü.avif"
    Image.fromarray(photo()).save(path, save_all=True, append_images=[Image.fromarray(photo()[::-1])])
    read_image(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 90
    path.write_bytes(data)
    np.asarray(Image.open(path))  # without a word
    with pytest.raises(UserError, match=r"ü.avif: damaged \(a corrupt frame\)"):
        read_image(path)


def test_a_bigtiff_with_another_size_of_offsets_is_refused(tmp_path):
    path = write_tiff(tmp_path / "a.tif", texture(), 8, RGB, big=True)
    read_image(path)
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\x04" + data[5:])
    with pytest.raises(UserError, match="damaged .its header is not that of a BigTIFF"):
        read_image(path)


def sound_jpegs():
    """What looks like damage and is none."""

    def jpeg(pixels, **options):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", **options)
        return file.getvalue()

    gray, white = np.full((400, 600, 3), 128, np.uint8), photo()
    white[100:] = 255
    gray_end = photo()
    gray_end[100:] = 128
    for name, options in JPEGS.items():
        yield f"all gray, {name}", jpeg(gray, **options)
        yield f"white below, {name}", jpeg(white, **options)
        yield f"gray below, {name}", jpeg(gray_end, **options)
        data = jpeg(photo(), **options)
        yield f"motion photo, {name}", data + bytes(500) + b"ftypmp42"
        yield f"zeros before the end mark, {name}", data[:-2] + bytes(100) + data[-2:]
        yield f"no end mark's worth of fill bytes, {name}", data[:-2] + b"\xff" * 3 + data[-2:]


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in sound_jpegs()])
def test_a_sound_jpeg_is_read(tmp_path, data):
    (tmp_path / "a.jpg").write_bytes(data)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("suffix", ["avif", "webp", "jp2"])
@pytest.mark.parametrize("size", [(64, 48), (1500, 1000)], ids=str)
def test_a_flat_image_is_read(tmp_path, suffix, size):
    Image.new("RGB", size).save(tmp_path / f"a.{suffix}")
    assert read_image(tmp_path / f"a.{suffix}").max() <= 2


def test_a_jpeg_2000_without_its_coded_data_is_called_damaged(tmp_path):
    path = tmp_path / "a.jp2"
    Image.new("RGB", (16, 16)).save(path)
    path.write_bytes(path.read_bytes().partition(b"\xff\x4f\xff\x51")[0])
    with pytest.raises(UserError, match="cannot be decoded .*: damaged"):
        read_image(path)
