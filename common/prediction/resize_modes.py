"""What a network sees of an image, whatever the image's size: all of it stretched, its middle, or tiles.

The papers stretch frames of 640x360 to the network's input, which hardly changes their shape.  An image of another
shape or size is, to a network, unlike everything that it was trained on: `shape_warning` says so.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.media.formats import InputFormat
from common.media.images import animation_warning, preprocess, read_image

LARGEST = (1920, 1080)  # (width, height) of VideoSet, in whose levels the size hardly shows
MAX_DISTORTION = 1.1  # an image stretched less, in one direction more than in the other, has no warning
AHEAD = {"stretch": None, "crop": None, "tiles": 2}
"""How many prepared images may wait for a network, None for many: for tiles, images are held at their full size."""


class Region(NamedTuple):
    """The part of an image, in pixels, that a network sees at once."""

    x: int
    y: int
    width: int
    height: int

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """Return the part of an array (H, W, ...)."""
        return pixels[self.y : self.y + self.height, self.x : self.x + self.width]

    def __str__(self):
        return f"{self.width}x{self.height}+{self.x}+{self.y}"  # as ImageMagick writes it


class PreparedImage(NamedTuple):
    """An image as a network will see it.

    Attributes:
        size: (height, width) of the image.
        regions: What the network sees of it.
        arrays: float32 (h, w, 3) of each region, in the network's colour order and scale.
        format_warning: What of it one image of 8-bit R, G, B cannot show, for a person.
        number: Its number among the images of a run, from 0, which decides where in a batch its arrays are.
    """

    size: tuple[int, int]
    regions: Sequence[Region]
    arrays: Iterable[np.ndarray]
    format_warning: str = ""
    number: int = 0


def prepare_image(
    image: str | os.PathLike | np.ndarray, input_format: InputFormat, resize_mode: str = "stretch", number: int = 0
) -> PreparedImage:
    """Decode, cut and resize an image, a path or uint8 RGB (H, W, 3).  number: Of the image in its run.

    Raises UserError where the file cannot be read, ValueError where the array is of another shape or type.
    """
    if isinstance(image, (str, os.PathLike)):
        pixels, warning = read_image(Path(image)), animation_warning(Path(image))
    else:
        pixels, warning = np.asarray(image), ""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"uint8 (H, W, 3) expected, got {pixels.dtype} {pixels.shape}")
    height, width = pixels.shape[:2]
    regions = choose_regions((height, width), input_format.frame, resize_mode)
    arrays = (preprocess(region.of(pixels), input_format) for region in regions)
    arrays = arrays if resize_mode == "tiles" else list(arrays)
    return PreparedImage((height, width), regions, arrays, warning, number)


def choose_regions(size: tuple[int, int], frame: tuple[int, int], resize_mode: str) -> list[Region]:
    """Return the regions of an image that a network sees.

    Tiles overlap as much as it takes to cover the image evenly; where it is smaller than a frame, they are the largest
    of a frame's shape that fit.

    Args:
        size: (height, width) of the image.
        frame: (width, height) of the papers' frames.
    """
    height, width = size
    if resize_mode == "stretch":
        return [Region(0, 0, width, height)]
    scale = min(width / frame[0], height / frame[1])  # of the largest piece of a frame's shape
    if resize_mode == "tiles":
        scale = min(scale, 1)
    piece = [max(1, min(whole, round(side * scale))) for whole, side in zip((width, height), frame)]
    if resize_mode == "crop":
        return [Region((width - piece[0]) // 2, (height - piece[1]) // 2, *piece)]
    columns, rows = (_starts(whole, part) for whole, part in zip((width, height), piece))
    return [Region(x, y, *piece) for y in rows for x in columns]


def _starts(whole: int, part: int) -> list[int]:
    """Where parts begin that cover the whole, evenly spread."""
    count = -(-whole // part)
    return [round(index * (whole - part) / max(count - 1, 1)) for index in range(count)]


def describe_regions(regions: Sequence[Region], size: tuple[int, int], input_format: InputFormat) -> str:
    """Say what was done to an image of `size`, (height, width): "middle 400x225 to 640x352"."""
    (_, _, width, height), *others = regions
    target = f"to {input_format.width}x{input_format.height}"
    if others:
        return f"{len(regions)} tiles of {width}x{height} {target}"
    return f"{'' if size == (height, width) else 'middle '}{width}x{height} {target}"


def shape_warning(region: Region, frame: tuple[int, int]) -> str:
    """Say in what a region is unlike the papers' frames, (width, height), to a network; "" for nothing."""
    shape = region.width / region.height / (frame[0] / frame[1])
    differences = []
    if not 1 / MAX_DISTORTION <= shape <= MAX_DISTORTION:
        side = "height" if shape > 1 else "width"
        differences.append(f"stretched {max(shape, 1 / shape):.3g} times in {side}")
    enlarged = min(frame[0] / region.width, frame[1] / region.height)
    if enlarged > MAX_DISTORTION:
        differences.append(f"enlarged {enlarged:.3g} times")
    if region.width > LARGEST[0] * MAX_DISTORTION or region.height > LARGEST[1] * MAX_DISTORTION:
        differences.append(f"{max(region.width / frame[0], region.height / frame[1]):.3g} times smaller")
    return f"unlike the training images: {', '.join(differences)}" if differences else ""
