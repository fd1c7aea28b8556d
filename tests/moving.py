"""Clips made of photographs, for tests."""

import os

import ffmpeg as graphs
import numpy as np
from skimage import data

from common.ffmpeg_process import find_ffmpeg

PHOTOGRAPHS = (data.coffee(), data.astronaut(), data.chelsea(), data.rocket())


def moving(picture, frames, width=64, height=48):
    """A window that moves over a photograph: (frames, height, width, 3)."""
    starts = [(3 * index, 5 * index) for index in range(frames)]
    return np.stack([picture[top : top + height, left : left + width] for top, left in starts])


def make_clip(path, pixels, rate=10, **options):
    """A clip in any format, by ffmpeg itself."""
    size = f"{pixels.shape[2]}x{pixels.shape[1]}"
    stream = graphs.input("pipe:", format="rawvideo", pixel_format="rgb24", framerate=rate, s=size)
    options = {"vcodec": "libx264", "pix_fmt": "yuv420p", **options}
    stream.output(os.path.abspath(path), **options).overwrite_output().run(
        cmd=find_ffmpeg(), input=pixels.tobytes(), quiet=True
    )
