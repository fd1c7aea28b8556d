"""What files count as images and clips, and the inputs of networks.  Light to import: each `--help` needs it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Suffixes, in lower case, of the files that count as images in a folder."""

CLIP_SUFFIXES = frozenset(
    ".264 .265 .3g2 .3gp .asf .avi .f4v .flv .h264 .hevc .ivf .m2ts .m2v .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .nut "
    ".obu .ogv .qt .ts .vob .webm .wmv .y4m".split()
)


def is_clip(path: str | Path) -> bool:
    """Return whether a file is a clip, by its suffix; any other file counts as an image."""
    return Path(path).suffix.lower() in CLIP_SUFFIXES


@dataclass(frozen=True)
class InputFormat:
    """The input of a family of networks: float32 (height, width, 3) in B, G, R order, 0..255 times `scale`.

    Colour order and scale change only on the way in (`images.preprocess`, `preprocess_tensor`) and out
    (`images.to_image`).

    frame: (width, height) of the images that the papers trained on, before they were resized to this.
    raw: of an exported network: uint8 (height, width, 3), R, G, B; it changes colour order and scale itself.
    """

    width: int
    height: int
    scale: float
    frame: tuple[int, int] = (640, 360)
    raw: bool = field(default=False, repr=False)  # keys of kept features hold the text of the others

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, 3)"""
        return self.height, self.width, 3

    def preprocess_tensor(self, pixels: Any) -> Any:
        """Return a backend's tensor, float32 RGB (B, height, width, 3), 0..255, as a batch of this input."""
        return pixels[..., ::-1] * self.scale


TCSVT = InputFormat(640, 352, 1.0)
"""LAT, REC, E2E-*, MJ-*: 640 x 352, 0..255, as the programs released with the TCSVT 2024 paper feed their networks."""

MTJND = InputFormat(480, 270, 1 / 255)
"""MT_*: 480 x 270, 0..1, no VGG mean subtracted, as the programs released with the ICIP 2023 paper do."""
