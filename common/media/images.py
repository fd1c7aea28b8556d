"""Pictures: decode, resize and hand them to a network as the released weights expect them.

The released programs read with OpenCV, so its conventions hold here, without depending on it: its EXIF rotation, its
16-bit and CMYK conversions, its sampling.  Outside `InputFormat` a picture is always uint8 RGB.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from common.core.errors import UserError
from common.core.files import atomic_write, require_content

# Remarks on odd EXIF, palettes and sizes that do not change a pixel; what is really wrong raises.
warnings.filterwarnings("ignore", module=r"PIL\.")

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Suffixes, in lower case, of the files that count as pictures in a folder."""


def read_image(path):
    """Return the picture in the file `path` as uint8 RGB (H, W, 3), 0..255.

    The pixels are those of OpenCV's `imread(IMREAD_COLOR)`: turned upright by the EXIF orientation, gray and palette
    expanded, alpha dropped (not composited), the high byte of 16-bit samples, the first frame of several.  Colour
    profiles are not applied.

    Raises UserError, one line that names the file, when it is missing, empty, a pipe or the like, no picture, damaged,
    cut short, too large, or of samples wider than 16 bits.
    """
    path = Path(path)
    try:
        require_content(path, "picture")
        with Image.open(path) as picture:
            return np.asarray(_upright_rgb(picture))
    except UserError:
        raise
    except UnidentifiedImageError:
        problem = "not a picture, or of an unknown kind; expected PNG, JPEG, BMP, TIFF, WebP, PGM or PPM"
    except _WideSamples:
        problem = "samples wider than 16 bits; save it with 8 or 16 bits a channel"
    except (Image.DecompressionBombError, MemoryError):
        problem = f"too large (at most {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels); scale it down"
    except FileNotFoundError:
        problem = "no such file; check the path"
    except Exception as error:  # broken bytes make Pillow's readers raise nearly anything
        if isinstance(error, OSError) and error.errno:
            problem = f"cannot be read ({error.strerror}); expected a picture"
        else:
            reason = " ".join(str(error).split()) or type(error).__name__
            problem = f"cannot be decoded ({reason}): damaged, cut short or unusual; copy it again or save it as PNG"
    raise UserError(f"{path}: {problem}")


class _WideSamples(Exception):
    """32-bit samples, whose white point nobody knows."""


def _upright_rgb(picture):
    """Load the Pillow image `picture` and return it as a new one of mode RGB, turned upright."""
    picture.load()  # where a file that was cut short raises
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM")):
        rgb = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    elif picture.mode in ("I", "F"):
        raise _WideSamples
    elif picture.mode == "CMYK" and picture.format == "JPEG":  # Pillow's own conversion is up to two levels darker
        ink = np.asarray(picture).astype(np.int32)
        paper = 255 - ink[..., 3:]
        rgb = Image.fromarray((paper - (ink[..., :3] * paper >> 8)).astype(np.uint8))
    else:
        rgb = picture if picture.mode == "RGB" else picture.convert("RGB")  # without a copy of 8 MB
    # Pillow would also turn by what XMP says, OpenCV only by EXIF (a TIFF's own tag was obeyed by `load`).
    rgb.info = {"exif": picture.info.get("exif", b"")}
    try:
        ImageOps.exif_transpose(rgb, in_place=True)
    except Exception:  # EXIF that is garbage turns nothing
        pass
    return rgb


def resize(picture, width, height):
    """Return the uint8 `picture` (H, W, 3), resized to (height, width, 3) as OpenCV's INTER_LINEAR does.

    Pixel centres lie at halves, four neighbours count, edges repeat, and nothing is smoothed before shrinking.  The
    fixed-point arithmetic is OpenCV's as well: floating point comes out 0.1 grey levels brighter on average.  (Pillow's
    `resize` smooths, its affine `transform` rounds down.)  A picture that has the size is returned as it is.
    """
    rows, columns = picture.shape[:2]
    if (columns, rows) == (width, height):
        return picture
    left, right, x_weight = _neighbours(columns, width)
    upper, lower, y_weight = _neighbours(rows, height)
    # A row is 3 W samples: bytes are gathered faster than triples.
    left, right = ((3 * column[:, None] + np.arange(3)).ravel() for column in (left, right))
    x_weight, y_weight = np.repeat(x_weight, 3), y_weight[:, None]
    samples = picture.reshape(rows, 3 * columns)
    blend = 2  # half of the 4 that the shifts below leave
    for row, weight in ((upper, 2048 - y_weight), (lower, y_weight)):
        line = samples.take(row, axis=0)  # (height, 3 W)
        if not x_weight.any():  # the width stays, or is an odd multiple, as 1920 of 640
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


def _neighbours(source, target):
    """For each of `target` samples: its two neighbours among `source`, and the weight of the second in 1/2048."""
    centre = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32).clip(0, source - 1)
    first = np.floor(centre).astype(np.intp)
    return first, np.minimum(first + 1, source - 1), np.rint((centre - first) * 2048).astype(np.int32)


@dataclass(frozen=True)
class InputFormat:
    """How a family of networks wants its pictures: size in pixels, B, G, R order, and a factor on 0..255.

    The one place where colour order and scale change, on the way in (`preprocess`, `preprocess_tensor`) and on the way out
    (`to_image`).
    frame: (width, height) of the pictures that the papers trained on, before they were resized to this.
    """

    width: int
    height: int
    scale: float
    frame: tuple = (640, 360)

    @property
    def shape(self):
        """(height, width, 3)"""
        return self.height, self.width, 3

    def load(self, path):
        """Return the picture in the file `path` as float32 (height, width, 3), B, G, R, 0..255 times `scale`.

        Raises UserError as `read_image` does.
        """
        return self.preprocess(read_image(path))

    def preprocess(self, picture):
        """The same of a uint8 RGB `picture` (H, W, 3) of any size."""
        picture = resize(picture, self.width, self.height)
        return np.multiply(picture.take((2, 1, 0), axis=2), self.scale, dtype=np.float32)

    def preprocess_tensor(self, pixels):
        """The same of a backend's tensor: float32 RGB (B, height, width, 3), of this size already."""
        return pixels[..., ::-1] * self.scale

    def to_image(self, output):
        """Return a network's image `output`, float (H, W, 3) in B, G, R, as uint8 RGB, rounded and clipped."""
        levels = np.asarray(output, dtype=np.float32)[..., ::-1] / np.float32(self.scale)
        return np.rint(levels).clip(0, 255).astype(np.uint8, order="C")


TCSVT = InputFormat(640, 352, 1.0)
"""LAT, REC, E2E-*, MJ-*: 640 x 352, 0..255, as the programs released with the TCSVT 2024 paper feed their networks."""

MTJND = InputFormat(480, 270, 1 / 255)
"""MT_*: 480 x 270, 0..1, no VGG mean subtracted, as the programs released with the ICIP 2023 paper do."""


def write_png(path, picture):
    """Write the uint8 RGB `picture` (H, W, 3) as the PNG file `path`, whole or not at all."""
    with atomic_write(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
