"""Images: decode them, resize them and prepare them for a network, with the pixels that the released weights expect.

The released programs read with OpenCV.  This module follows its EXIF rotation, its 16-bit and CMYK conversions and its
resampling, and does not need it.  Before `preprocess` an image is always a uint8 RGB array.
"""

import contextlib
import logging
import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from common.core.errors import UserError
from common.core.files import atomic_write, require_content
from common.media import tiff
from common.media.damage import find_damage
from common.media.formats import InputFormat

# Remarks on odd EXIF, palettes and sizes do not change a pixel; real damage raises.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else Python prints what it logs

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000", "GIF", "TGA")
"""Pillow's names of the formats that are read.  It knows others, and would start a program to read an EPS."""


FOREIGN = {
    rb".{4}ftyp.{0,60}?(hei[cimsx]|hev[cmsx])": "a HEIC image",
    rb"\xff\x0a|\0\0\0\x0cJXL ": "a JPEG XL image",
    rb"8BPS": "a Photoshop image",
    rb"%PDF": "a PDF",
    rb"\x89PNG.{8}CgBI": "a PNG of Apple's own form",
    rb"\s*(<\?xml.*?\?>\s*)?(<!.*?>\s*)*<svg": "an SVG drawing",
}
"""{how a file begins: its name} of kinds that people try, and that are not read."""

STRIP = 1024  # rows


def open_image(path: str | Path) -> ImageFile.ImageFile:
    """Open an image file with Pillow: its header is read, its pixels are not.  Raises as `PIL.Image.open`."""
    return Image.open(path, formats=FORMATS)


def animation_warning(path: str | Path) -> str:
    """Say that `read_image` reads the first frame or page only; "" of an image that has one."""
    count = 1
    with open_image(path) as image, contextlib.suppress(Exception):  # what is not seen may be damaged
        count = getattr(image, "n_frames", 1) if image.format in ("PNG", "WEBP", "GIF", "AVIF", "TIFF") else 1
    parts = ("", "pages") if image.format == "TIFF" else ("animated: ", "frames")
    return f"{parts[0]}only the first of its {count} {parts[1]} is seen" if count > 1 else ""


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as uint8 RGB (H, W, 3), 0 to 255.

    The pixels are those of OpenCV's `imread(IMREAD_COLOR)`: the EXIF orientation is applied, gray and palette are
    expanded, alpha is dropped, samples of more than 8 bits keep their high byte, and of several frames the first is
    read.  Colour profiles are not applied.  Unlike OpenCV, an AVIF is turned as it says, and the samples of a PNM, or
    of a BMP of 15 or 16 bits, are scaled from their highest value.

    Dropping alpha gives the colours that each pixel has where it is opaque, in every format: they are not blended with
    a background, and colours that were stored multiplied by alpha are divided by it.  (OpenCV multiplies alpha into
    the colours of a TIFF.)

    Raises:
        UserError: The file is missing, empty, a pipe or the like, not an image, damaged, cut short, too large, has
            samples wider than 16 bits or above a PNM's maximum, or is a TIFF or a JPEG 2000 whose pixels would not be
            known for certain.
    """
    path = Path(path)
    try:
        require_content(path, "image")
        with open_image(path) as image:
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                if kind := tiff.unknown_kind(image.tag_v2):
                    raise _UnknownKind(kind)
                tiff.correct_before_loading(image)
            if image.format == "PNG" and (kind := _foreign_kind(path)):
                raise _UnknownKind(kind)
            if image.format == "JPEG2000" and (kind := _unknown_jpeg2000(path, image.mode)):
                raise _UnknownKind(f"a JPEG 2000 of {kind}, which is not read")
            if image.format == "PPM" and (highest := _beyond_maximum(path, image)):
                raise _UnknownKind(f"its samples go to {highest[0]}, but its header says {highest[1]} at most")
            pixels = _decode_plain_png(path, image)
            with tiff.listen() as heard:
                if pixels is None:
                    image.load()  # raises where the file was cut short
            if damage := heard() or find_damage(path, image):
                raise UserError(f"{path}: damaged ({damage}); copy it again")
            return _to_array(_upright_rgb(image)) if pixels is None else pixels
    except UserError:
        raise
    except _UnknownKind as error:
        problem = f"{error}; save it as PNG of 8 or 16 bits"
    except UnidentifiedImageError:
        if kind := tiff.unread_kind(path) or _foreign_kind(path):
            problem = f"{kind}; save it as PNG of 8 or 16 bits"
        elif re.match(rb"\x89PNG\r\n|\xff\xd8\xff|GIF8|RIFF.{4}WEBP", _beginning(path), re.DOTALL):
            problem = "its header is damaged; copy it again"
        else:
            problem = "not an image, or of an unknown kind; expected JPEG, PNG, WebP, AVIF, JPEG 2000, TIFF, BMP or PPM"
    except (Image.DecompressionBombError, MemoryError):
        problem = f"too large (at most {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels); scale it down"
    except FileNotFoundError:
        problem = "no such file; check the path"
        if "[" in str(path):
            problem += ", or write [[] for a bracket in a pattern, where [12] stands for 1 or 2"
    except Exception as error:  # broken bytes make Pillow's readers raise nearly anything
        if isinstance(error, OSError) and error.errno:
            problem = f"cannot be read ({error.strerror}); expected an image"
        else:
            reason = " ".join(str(error).split()) or type(error).__name__
            problem = f"cannot be decoded ({reason}): damaged, cut short or unusual; copy it again or save it as PNG"
    raise UserError(f"{path}: {problem}")


def _foreign_kind(path: Path) -> str | None:
    begin = _beginning(path)
    kinds = (name for start, name in FOREIGN.items() if re.match(start, begin, re.DOTALL))
    return next((f"{name}, which is not read" for name in kinds), None)


def _beginning(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(500)


def _unknown_jpeg2000(path: Path, mode: str) -> str | None:
    """Return what is unusual in the samples of a JPEG 2000, where Pillow would guess: it rounds white up to black."""
    _, _, sizes = path.read_bytes().partition(b"\xff\x4f\xff\x51")  # how the coded data starts, if it is not damaged
    channels = int.from_bytes(sizes[36:38], "big")
    depths, *steps = (sizes[38 + place : 38 + 3 * channels : 3] for place in range(3))
    if len(set(depths)) > 1 or any(step > 2 for step in b"".join(steps)):  # half as many samples of colour are usual
        return "channels with other bits or far fewer samples than the first"
    if any(depth & 128 for depth in depths):
        return "signed samples"
    bits = max((depth + 1 for depth in depths), default=0)
    return f"{bits} bits in more than one channel" if bits > 8 and mode != "I;16" else None


def _beyond_maximum(path: Path, image: ImageFile.ImageFile) -> tuple[int, int] | None:
    """Return (highest sample, maximum of the header) of a binary PNM that exceeds it; Pillow would cut samples off."""
    codec, _, start, args = image.tile[0]
    if not isinstance(args, tuple) or codec != "ppm":  # all samples of a byte or two are allowed, or Pillow checks each
        return None
    maximum = int(args[1])
    count = image.width * image.height * len(image.getbands())
    samples = np.fromfile(path, "u1" if maximum < 256 else ">u2", count, offset=start)
    highest = int(samples.max(initial=0))
    return (highest, maximum) if highest > maximum else None


def _decode_plain_png(path: Path, image: ImageFile.ImageFile) -> np.ndarray | None:
    """Decode a PNG with imagecodecs, where it is installed: the same pixels in 0.6 of Pillow's time.

    Returns:
        uint8 RGB (H, W, 3); None where Pillow is to decode it, or to say what is wrong with it.
    """
    if image.format != "PNG" or image.mode != "RGB" or getattr(image, "is_animated", False):
        return None
    try:
        import imagecodecs  # pyright: ignore[reportMissingImports]  optional, see requirements-dev.txt
    except ImportError:
        return None
    data = path.read_bytes()
    if b"eXIf" in data or b"Raw profile type" in data:  # an orientation, which may stand behind the pixels
        return None
    try:
        pixels = imagecodecs.spng_decode(data)
    except Exception:  # its own errors, for damage of any kind
        return None
    return pixels if pixels.dtype == np.uint8 and pixels.shape == (image.height, image.width, 3) else None


class _UnknownKind(Exception):
    """Names an image whose pixels would be a guess."""


def _upright_rgb(image: Image.Image) -> Image.Image:
    """Return a loaded Pillow image in mode RGB with its EXIF orientation applied."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        samples = np.asarray(image)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            samples = tiff.gray_16_bits(samples, image.tag_v2)
        rgb = Image.fromarray((samples >> 8).astype(np.uint8)).convert("RGB")
    elif image.mode in ("I", "F"):
        raise _UnknownKind("samples wider than 16 bits")  # nobody knows which value is white
    elif image.mode == "CMYK" and image.format == "JPEG":  # Pillow's own conversion is up to two levels darker
        ink = np.asarray(image).astype(np.int32)
        paper = 255 - ink[..., 3:]
        rgb = Image.fromarray((paper - (ink[..., :3] * paper >> 8)).astype(np.uint8))
    else:
        rgb = image if image.mode == "RGB" else image.convert("RGB")  # an RGB image is not copied: it may be 8 MB
    # Pillow would also obey the orientation in XMP, OpenCV obeys EXIF only (`load` has obeyed a TIFF's own tag).
    rgb.info = {"exif": image.info.get("exif", b"")}
    try:
        ImageOps.exif_transpose(rgb, in_place=True)
    except Exception:  # unreadable EXIF rotates nothing
        pass
    return rgb


def _to_array(image: Image.Image) -> np.ndarray:
    """Return an RGB image as uint8 (H, W, 3), copied in strips: Pillow needs two copies of what it converts."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, STRIP):
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height)))
        pixels[top : top + STRIP] = np.asarray(strip)
    return pixels


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize a uint8 image (H, W, 3) to (height, width, 3), as OpenCV's INTER_LINEAR does.

    Pixel centres lie at halves, four neighbours count, edges repeat, and nothing is smoothed before shrinking.  The
    fixed-point arithmetic is OpenCV's too: floating point comes out 0.1 gray levels brighter on average.  (Pillow's
    `resize` smooths, its affine `transform` rounds down.)  An image that already has the size is returned itself.
    """
    rows, columns = image.shape[:2]
    if (columns, rows) == (width, height):
        return image
    left, right, x_weight = _neighbours(columns, width)
    upper, lower, y_weight = _neighbours(rows, height)
    # A row is 3 W samples: bytes are gathered faster than triples.
    left, right = ((3 * column[:, None] + np.arange(3)).ravel() for column in (left, right))
    x_weight, y_weight = np.repeat(x_weight, 3), y_weight[:, None]
    samples = image.reshape(rows, 3 * columns)
    blend = 2  # half of the 4 that the shifts below leave
    for row, weight in ((upper, 2048 - y_weight), (lower, y_weight)):
        line = samples.take(row, axis=0)  # (height, 3 W)
        if not x_weight.any():  # the width stays, or is an odd multiple, such as 1920 of 640
            across = line.take(left, axis=1).astype(np.int32) << 7
        else:
            across = line.take(left, axis=1) * (2048 - x_weight)  # (height, 3 width), int32
            across += line.take(right, axis=1) * x_weight
            across >>= 4
        across *= weight
        across >>= 16
        blend = across + blend
    blend >>= 2
    return blend.astype(np.uint8).reshape(height, width, 3)


def _neighbours(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `target` samples: its two neighbours among `source`, and the weight of the second in 1/2048."""
    centre = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32).clip(0, source - 1)
    first = np.floor(centre).astype(np.intp)
    return first, np.minimum(first + 1, source - 1), np.rint((centre - first) * 2048).astype(np.int32)


def read_input(path: str | Path, form: InputFormat) -> np.ndarray:
    """Read an image file and `preprocess` it.  Raises UserError as `read_image` does."""
    return preprocess(read_image(path), form)


def preprocess(image: np.ndarray, form: InputFormat) -> np.ndarray:
    """Return a uint8 RGB image (H, W, 3) of any size as the input of a network."""
    image = resize(image, form.width, form.height)
    return image if form.raw else np.multiply(image.take((2, 1, 0), axis=2), form.scale, dtype=np.float32)


def to_image(output: np.ndarray, form: InputFormat) -> np.ndarray:
    """Return a network's output image, float (H, W, 3) in B, G, R, as uint8 RGB, rounded and clipped."""
    levels = np.asarray(output, dtype=np.float32)[..., ::-1] / np.float32(form.scale)
    return np.rint(levels).clip(0, 255).astype(np.uint8, order="C")


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write a uint8 RGB image (H, W, 3) as the PNG file `path`, whole or not at all."""
    with atomic_write(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")
