"""One picture of what a level means: python3 -m benchmarks.split PHOTOGRAPH --encoded DIR --output docs/split.jpg

DIR is what `predict PHOTOGRAPH --encode DIR` wrote.  The left half is the photograph, the right half what was encoded,
with its QP, its VMAF and both sizes in bytes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from common.cli import program
from common.core.errors import UserError
from common.media.ffmpeg import decode_frames
from common.media.images import read_image

BAR = 28  # pixels below the photograph, for the text


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the picture; return the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.split", description=__doc__)
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--encoded", type=Path, required=True, metavar="DIR", help="what --encode wrote of it")
    parser.add_argument("--level", default="JND1", help="the level that it was encoded at, for the text")
    parser.add_argument("--output", type=Path, required=True, help="the picture, .jpg or .png")
    options = parser.parse_args(arguments)
    report = pd.read_csv(options.encoded / "report.csv").set_index("path")
    if str(options.photograph) not in report.index:
        raise UserError(
            f"{options.encoded / 'report.csv'}: no row of {options.photograph}; encode it with predict first"
        )
    row = report.loc[str(options.photograph)]
    raw = read_image(options.photograph)
    (encoded,) = decode_frames(row["target"], raw.shape[:2])
    texts = (
        f"raw: {raw.nbytes:,} bytes",
        f"{options.level}, QP {row['qp']:.0f}: {row['bytes']:,} bytes, VMAF {row['vmaf']:.0f}",
    )
    draw(raw, encoded, texts).save(options.output, quality=93, subsampling=0)
    return 0


def draw(raw: np.ndarray, encoded: np.ndarray, texts: tuple[str, str]) -> Image.Image:
    """Return the left half of `raw` beside the right half of `encoded`, uint8 RGB (H, W, 3), a text below each."""
    height, width = raw.shape[:2]
    picture = Image.new("RGB", (width, height + BAR), "white")
    picture.paste(Image.fromarray(np.hstack([raw[:, : width // 2], encoded[:, width // 2 :]])))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=15)
    pen.line([(width // 2, 0), (width // 2, height)], fill="white", width=2)
    for x, text in zip((8, width // 2 + 8), texts):
        pen.text((x, height + BAR // 2), text, fill="black", font=font, anchor="lm")
    return picture


if __name__ == "__main__":
    program.run(main)
