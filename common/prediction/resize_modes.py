"""What of a picture a network sees, whatever the picture's size: all of it stretched, its middle, or tiles.

The papers stretch frames of 640x360 to the network's input, which hardly changes their shape.  Pictures of another
shape or size look different to a network than anything that it was trained on: `warning` says so.
"""

import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from common.media.images import read_image

RESIZE_MODES = {
    "stretch": "all of it, to the network's size, as the papers do",
    "crop": "its middle of the shape of the papers' frames",
    "tiles": "pieces of the size of the papers' frames side by side; the picture's level is their lowest",
}
LARGEST = (1920, 1080)  # of VideoSet, in whose levels the size hardly shows
SHAPE = 1.1  # how much a picture may be stretched in one direction more than in the other


class Region(NamedTuple):
    """The part of a picture, in pixels, that a network sees at once."""

    x: int
    y: int
    width: int
    height: int

    def of(self, pixels):
        """The part, of an array (H, W, ...)."""
        return pixels[self.y : self.y + self.height, self.x : self.x + self.width]

    def __str__(self):
        return f"{self.width}x{self.height}+{self.x}+{self.y}"  # ImageMagick's way of writing it


class PreparedImage(NamedTuple):
    """A picture as a network will see it: its size (height, width), its Views, and an array (h, w, 3) for each.

    lost: what of it 8-bit R, G, B cannot show, for a person.
    number: its number among the pictures of a run, from 0, which decides where in a batch its arrays are.
    """

    size: tuple[int, int]
    views: list
    arrays: Iterable
    lost: str = ""
    number: int = 0


AHEAD = {"stretch": 32, "crop": 32, "tiles": 2}
"""How many Looks may wait for a network: in tiles, pictures are held at their full size."""


def prepare_image(picture, seen, fit):
    """Decode, cut and resize a picture, a path or uint8 RGB (H, W, 3), for networks of the InputFormat `seen`: a Look.

    Raises UserError where a file cannot be read.
    """
    pixels = read_image(picture) if isinstance(picture, (str, os.PathLike)) else np.asarray(picture)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"uint8 (H, W, 3) expected, got {pixels.dtype} {pixels.shape}")
    parts = regions(pixels.shape[:2], seen.frame, fit)
    arrays = (seen.preprocess(part.of(pixels)) for part in parts)
    return PreparedImage(pixels.shape[:2], parts, arrays if fit == "tiles" else list(arrays))


def regions(size, frame, fit):
    """The Views of a picture of `size`, (height, width), as `fit`, one of FITS, says.

    frame: (width, height) of the papers' frames.  Tiles overlap as much as it takes to cover the picture evenly; those
    of a picture smaller than a frame are as large as fit.
    """
    height, width = size
    if fit == "stretch":
        return [Region(0, 0, width, height)]
    scale = min(width / frame[0], height / frame[1])  # of the largest piece of the frame's shape
    if fit == "tiles":
        scale = min(scale, 1)
    piece = [max(1, min(whole, round(side * scale))) for whole, side in zip((width, height), frame)]
    if fit == "crop":
        return [Region((width - piece[0]) // 2, (height - piece[1]) // 2, *piece)]
    columns, rows = (_starts(whole, part) for whole, part in zip((width, height), piece))
    return [Region(x, y, *piece) for y in rows for x in columns]


def _starts(whole, part):
    """Where parts begin that cover the whole, evenly spread."""
    count = -(-whole // part)
    return [round(index * (whole - part) / max(count - 1, 1)) for index in range(count)]


def seen(parts, size, network):
    """For a person: what was done to a picture of `size`, (height, width), of which `network` (width, height) sees."""
    (_, _, width, height), *others = parts
    target = f"to {network[0]}x{network[1]}"
    if others:
        return f"{len(parts)} tiles of {width}x{height} {target}"
    return f"{'' if size == (height, width) else 'middle '}{width}x{height} {target}"


def warning(part, frame):
    """Why the View `part` looks unlike the papers' frames, (width, height), to a network; "" where it does not."""
    shape = part.width / part.height / (frame[0] / frame[1])
    said = []
    if not 1 / SHAPE <= shape <= SHAPE:
        way = "narrower" if shape > 1 else "wider"
        said.append(f"seen {max(shape, 1 / shape):.3g} times {way} than it is")
    enlarged = min(frame[0] / part.width, frame[1] / part.height)
    if enlarged > SHAPE:
        said.append(f"enlarged {enlarged:.3g} times")
    if part.width > LARGEST[0] * SHAPE or part.height > LARGEST[1] * SHAPE:
        said.append(f"shrunk {max(part.width / frame[0], part.height / frame[1]):.3g} times")
    return f"unlike the training pictures: {', '.join(said)}" if said else ""
