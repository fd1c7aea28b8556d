"""Images must reach the networks as OpenCV would have read and resized them."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage
from PIL import Image, ImageOps

from common.core.errors import UserError
from common.media.formats import MTJND, TCSVT, InputFormat
from common.media.images import read_image, read_input, resize, to_image, write_png

# pytest resets the filter that common.media.images sets.
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")

PHOTOS = Path(skimage.__file__).parent / "data"


@pytest.fixture(scope="module")
def photo():
    """A real photograph of odd size, with sharp edges: RGB."""
    return Image.open(PHOTOS / "coffee.png").convert("RGB").crop((40, 30, 441, 331))


@pytest.fixture(scope="module")
def alpha(photo):
    return ImageOps.mirror(photo.convert("L"))


def assert_like_opencv(path, size=(160, 88)):
    """Within one grey level at every pixel, and without bias, both as read and as resized."""
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR)
    image = read_image(path)
    assert image.dtype == np.uint8 and image.shape == expected.shape
    pairs = [(image, expected), (resize(image, *size), cv2.resize(expected, size, interpolation=cv2.INTER_LINEAR))]
    for ours, theirs in pairs:
        difference = ours.astype(int) - theirs[..., ::-1]
        assert np.abs(difference).max() <= 1
        assert abs(difference.mean()) < 0.05


@pytest.mark.parametrize("name", ["astronaut.png", "chelsea.png", "rocket.jpg", "hubble_deep_field.jpg"])
def test_photographs_as_they_come(name):
    assert_like_opencv(PHOTOS / name, size=(640, 352))


KINDS = {
    "rgb.png": lambda photo, alpha: (photo, {}),
    "rgb.bmp": lambda photo, alpha: (photo, {}),
    "rgb.ppm": lambda photo, alpha: (photo, {}),
    "rgb.tif": lambda photo, alpha: (photo, {"compression": "tiff_lzw"}),
    "rgb.webp": lambda photo, alpha: (photo, {"quality": 80}),
    "full.jpg": lambda photo, alpha: (photo, {"subsampling": 0}),
    "half.jpg": lambda photo, alpha: (photo, {"subsampling": 1}),
    "quarter.jpg": lambda photo, alpha: (photo, {"subsampling": 2}),
    "progressive.jpg": lambda photo, alpha: (photo, {"progressive": True}),
    "cmyk.jpg": lambda photo, alpha: (Image.merge("CMYK", (*photo.split(), alpha.point(lambda v: v // 3))), {}),
    "gray.jpg": lambda photo, alpha: (photo.convert("L"), {}),
    "gray.png": lambda photo, alpha: (photo.convert("L"), {}),
    "gray.bmp": lambda photo, alpha: (photo.convert("L"), {}),
    "bit.png": lambda photo, alpha: (photo.convert("1"), {}),
    "bit.bmp": lambda photo, alpha: (photo.convert("1"), {}),
    "palette.png": lambda photo, alpha: (photo.quantize(100), {}),
    "palette.bmp": lambda photo, alpha: (photo.quantize(100), {}),
    "palette_one_transparent.png": lambda photo, alpha: (photo.quantize(100), {"transparency": 7}),
    "palette_translucent.png": lambda photo, alpha: (photo.quantize(100), {"transparency": bytes(range(100))}),
    "gray_one_transparent.png": lambda photo, alpha: (photo.convert("L"), {"transparency": 100}),
    "gray_alpha.png": lambda photo, alpha: (Image.merge("LA", (photo.convert("L"), alpha)), {}),
    "alpha.png": lambda photo, alpha: (Image.merge("RGBA", (*photo.split(), alpha)), {}),
    "alpha.webp": lambda photo, alpha: (Image.merge("RGBA", (*photo.split(), alpha)), {"lossless": True}),
    "animated.png": lambda photo, alpha: (photo, {"save_all": True, "append_images": [ImageOps.invert(photo)]}),
    "animated.webp": lambda photo, alpha: (photo, {"save_all": True, "append_images": [ImageOps.invert(photo)]}),
    "pages.tif": lambda photo, alpha: (photo, {"save_all": True, "append_images": [ImageOps.invert(photo)]}),
    "xmp_alone_turns_nothing.jpg": lambda photo, alpha: (photo, {"xmp": b'<rdf:Description tiff:Orientation="6"/>'}),
    "garbage_exif.jpg": lambda photo, alpha: (photo, {"exif": b"Exif\0\0garbage"}),
    "garbage_exif.png": lambda photo, alpha: (photo, {"exif": b"garbage"}),
    "broken_exif.jpg": lambda photo, alpha: (photo, {"exif": b"Exif\0\0II*\0\xff\xff\xff\xff"}),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_image(tmp_path, photo, alpha, name):
    image, options = KINDS[name](photo, alpha)
    image.info = {}
    image.save(tmp_path / name, **options)
    assert_like_opencv(tmp_path / name)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_orientation(tmp_path, photo, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo.save(tmp_path / f"turned.{suffix}", exif=exif)
    assert_like_opencv(tmp_path / f"turned.{suffix}")


def test_exif_orientation_of_a_tiff(tmp_path, photo):  # OpenCV 5.0 itself fails on the quarter turns
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "turned.tif", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.tif"), np.rot90(np.asarray(photo), -1))


DEEP = [("gray.png", 1), ("rgb.png", 3), ("rgba.png", 4), ("gray.tif", 1), ("gray.pgm", 1)]


@pytest.mark.parametrize("name, channels", DEEP)
def test_16_bits_a_sample(tmp_path, photo, name, channels):
    low_bytes = np.random.default_rng(0).integers(0, 256, (301, 401, 4), dtype=np.uint16)
    samples = (np.asarray(photo.convert("RGBA")).astype(np.uint16) << 8 | low_bytes)[..., :channels]
    cv2.imwrite(str(tmp_path / name), samples)
    assert_like_opencv(tmp_path / name)


def test_16_bit_gray_turned_by_exif(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257).save(tmp_path / "deep.png", exif=exif)
    assert_like_opencv(tmp_path / "deep.png")


SIZES = [(640, 352), (480, 270), (401, 301), (400, 301), (200, 150), (802, 602), (803, 1001), (37, 5), (1, 1), (1, 900)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_resize_samples_as_opencv(photo, size):
    noise = np.random.default_rng(0).integers(0, 256, (301, 401, 3), dtype=np.uint8)
    for image in (np.asarray(photo), noise):
        difference = resize(image, *size).astype(int) - cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        assert np.abs(difference).max() <= 1
        assert abs(difference.mean()) < 0.05


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 7, 3), (9, 1, 3), (2, 2, 3)])
def test_resize_of_tiny_images(shape):
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    expected = cv2.resize(image, (16, 10), interpolation=cv2.INTER_LINEAR)
    assert np.abs(resize(image, 16, 10).astype(int) - expected).max() <= 1


def test_resize_returns_an_image_of_that_size_itself(photo):
    image = np.asarray(photo)
    assert resize(image, 401, 301) is image


def test_networks_get_blue_first_at_their_scale(tmp_path):
    Image.new("RGB", (70, 50), (255, 100, 3)).save(tmp_path / "orange.png")
    tcsvt, mtjnd = (read_input(tmp_path / "orange.png", form) for form in (TCSVT, MTJND))
    assert tcsvt.shape == TCSVT.shape == (352, 640, 3) and mtjnd.shape == MTJND.shape == (270, 480, 3)
    assert tcsvt.dtype == mtjnd.dtype == np.float32
    assert (tcsvt == [3, 100, 255]).all()
    np.testing.assert_allclose(mtjnd, np.broadcast_to(np.array([3, 100, 255]) / 255, mtjnd.shape), rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1 / 255])
def test_to_image_undoes_load(tmp_path, photo, scale):
    form = InputFormat(401, 301, scale)
    write_png(tmp_path / "photo.png", np.asarray(photo))
    np.testing.assert_array_equal(to_image(read_input(tmp_path / "photo.png", form), form), np.asarray(photo))


def test_to_image_rounds_and_clips():
    output = np.array([[[-7.0, 99.6, 300.0]]], np.float32)
    assert to_image(output, TCSVT).tolist() == [[[255, 100, 0]]]


def test_write_png_leaves_nothing_but_the_image(tmp_path, photo):
    write_png(tmp_path / "new" / "photo.png", np.asarray(photo))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["photo.png"]
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "photo.png"), np.asarray(photo))


def error_line(path):
    with pytest.raises(UserError) as caught:
        read_image(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and "\n" not in line
    return line


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "progressive.jpg", "a.bmp", "a.tif", "lzw.tif", "a.webp", "a.ppm"])
def test_an_image_cut_short_never_passes(tmp_path, photo, name):
    options = {"progressive.jpg": {"progressive": True}, "lzw.tif": {"compression": "tiff_lzw"}}.get(name, {})
    photo.resize((100, 75)).save(tmp_path / name, **options)
    whole, data = read_image(tmp_path / name), (tmp_path / name).read_bytes()
    for kept in [*range(1, len(data), len(data) // 15), *range(len(data) - 12, len(data))]:
        (tmp_path / name).write_bytes(data[:kept])
        try:
            image = read_image(tmp_path / name)
        except UserError:
            error_line(tmp_path / name)
        else:  # all that is missing is the end mark
            assert kept >= len(data) - 12
            np.testing.assert_array_equal(image, whole)


def test_a_png_with_a_flipped_bit_is_refused(tmp_path, photo):
    photo.save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[len(data) // 2] ^= 16
    (tmp_path / "a.png").write_bytes(data)
    assert "damaged" in error_line(tmp_path / "a.png")


@pytest.mark.parametrize("damage", [b"\0\x10\x01\0\x10\x01", bytes(12), b"\xff" * 6])
def test_a_fax_that_ends_early_is_refused(tmp_path, photo, damage, capfd):
    """Of rows that are missing libtiff gives whatever was in memory, and says so on standard error at most."""
    photo.convert("1").save(tmp_path / "x.tif", compression="group4")
    data = bytearray((tmp_path / "x.tif").read_bytes())
    start = Image.open(tmp_path / "x.tif").tag_v2[273][0]  # where the coded data begins
    assert read_image(tmp_path / "x.tif").shape == (301, 401, 3)
    data[start + 300 : start + 300 + len(damage)] = damage
    (tmp_path / "x.tif").write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        read_image(tmp_path / "x.tif")
    assert capfd.readouterr().err == ""


def test_a_bmp_whose_pixels_would_be_its_header_is_refused(tmp_path, photo):
    photo.convert("1").save(tmp_path / "x.bmp")
    data = bytearray((tmp_path / "x.bmp").read_bytes())
    data[10:14] = bytes(4)  # where OpenCV reads the header as pixels, and Pillow guesses
    (tmp_path / "x.bmp").write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        read_image(tmp_path / "x.bmp")


def test_what_is_no_image_is_named(tmp_path, photo, monkeypatch):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("<html>404 Not Found</html>")
    cv2.imwrite(str(tmp_path / "float.tif"), np.ones((4, 4), np.float32))
    photo.save(tmp_path / "photo.png")
    assert "no such file" in error_line(tmp_path / "missing.png")
    assert "0 bytes" in error_line(tmp_path / "empty.png")
    assert "not an image" in error_line(tmp_path / "text.png")
    assert "cannot be read" in error_line(tmp_path)
    assert "16 bits" in error_line(tmp_path / "float.tif")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "2,000 pixels" in error_line(tmp_path / "photo.png")


def test_a_bomb_is_refused_unopened(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))
    assert "too large" in error_line(tmp_path / "bomb.png")
