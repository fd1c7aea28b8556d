"""Clips made of photographs, for tests."""

import os

import ffmpeg as graphs
import numpy as np
from skimage import data

from common.media.ffmpeg_process import find_ffmpeg

PHOTOGRAPHS = (data.coffee(), data.astronaut(), data.chelsea(), data.rocket())


def moving(image, frames, width=64, height=48):
    """A window that moves over a photograph: (frames, height, width, 3)."""
    starts = [(3 * index, 5 * index) for index in range(frames)]
    return np.stack([image[top : top + height, left : left + width] for top, left in starts])


def make_clip(path, pixels, rate=10, sound=None, **options):
    """A clip in any format, by ffmpeg itself, with a tone where `sound` names a codec."""
    size = f"{pixels.shape[2]}x{pixels.shape[1]}"
    streams = [graphs.input("pipe:", format="rawvideo", pixel_format="rgb24", framerate=rate, s=size)]
    options = {"vcodec": "libx264", "pix_fmt": "yuv420p", **options}
    if sound:
        streams.append(graphs.input(f"sine=duration={len(pixels) / rate}", format="lavfi"))
        options["acodec"] = sound
    graph = graphs.output(*streams, os.path.abspath(path), **options).overwrite_output()
    graph.run(cmd=find_ffmpeg(), input=pixels.tobytes(), quiet=True)
    return path


SHOTS = np.concatenate(  # three of 12 frames each, 96x64
    [
        np.stack([image[2 * i : 2 * i + 64, 3 * i : 3 * i + 96] for i in range(12)])
        for image in (data.coffee(), data.chelsea(), data.rocket())
    ]
)
LEVELS = {0: 24.6, 6: 23.4, 13: 31.5, 30: 37.2}  # QPs of frames
CAT = data.chelsea()[40:200, 60:300]


def film(path, pixels=SHOTS, sound="aac", **options):
    """SHOTS, with sound, nearly as they are."""
    return make_clip(path, pixels, sound=sound, **{"qp": 8, **options})
