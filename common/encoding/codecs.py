"""Other coders than H.264, and what their settings are worth: the one that is as good as H.264 at a QP.

A QP, a CRF and a JPEG quality are different scales, and which of them look alike depends on the picture.  `coarsest`
finds on the picture itself the coarsest setting whose PSNR is at least that of H.264.
"""

import io
from collections.abc import Callable
from typing import NamedTuple

from common.core.errors import UserError


class Coder(NamedTuple):
    """One encoder.  parameter: what it calls its setting; settings: its values, from the coarsest to the finest.

    output(stream, target, value, threads, rate=None, **options): ffmpeg's output, all headers alike whatever the value,
    at `rate` frames a second, which stands in the headers only; save(pixels, file, value, profile): Pillow's.
    """

    title: str
    parameter: str
    settings: range
    suffix: str
    output: Callable | None = None
    save: Callable | None = None

    def check(self):
        """Raise UserError, which names the encoder, where ffmpeg or Pillow has it not."""
        import ffmpeg
        import numpy as np

        from common.media.ffmpeg_process import run

        if self.save:
            return self.save(np.zeros((16, 16, 3), np.uint8), io.BytesIO(), self.settings[0], None)
        blank = ffmpeg.input("color=size=64x64:rate=1:duration=1", format="lavfi")
        return run(self.output(blank, "-", self.settings[0], 1, format="null"), f"trying {self.title}")


def _x264(stream, target, value, threads, rate=None, **options):
    from common.media.ffmpeg import x264_output

    more = {"stitchable": 1, "fps": rate} if rate else {}  # otherwise the QP stands in the picture parameter set
    return x264_output(stream, target, value, threads, more, **options)


def _x265(stream, target, value, threads, rate=None, **options):
    # Tuned for PSNR, by which its setting is found; a tag that Apple's players know.
    params = "log-level=warning" + (f":fps={rate}" if rate else "")
    options |= {"preset": "medium", "tune": "psnr", "crf": value, "tag:v": "hvc1", "x265-params": params}
    return stream.output(str(target), vcodec="libx265", **options)


def _svt_av1(stream, target, value, threads, rate=None, **options):
    numerator, denominator = (rate or "30/1").split("/")
    params = f"tune=1:fps-num={numerator}:fps-denom={denominator}"  # PSNR
    return stream.output(
        str(target), vcodec="libsvtav1", preset=SVT_PRESET, crf=value, **{"svtav1-params": params}, **options
    )


def _jpeg(pixels, file, value, profile):
    from PIL import Image

    Image.fromarray(pixels).save(file, "JPEG", quality=value, subsampling="4:2:0", optimize=True, icc_profile=profile)


def _avif(pixels, file, value, profile):
    from PIL import Image, features

    if not features.check("avif"):
        raise UserError("this Pillow is built without AVIF; pip install pillow==12.3.0, or choose another codec")
    Image.fromarray(pixels).save(file, "AVIF", quality=value, subsampling="4:2:0", icc_profile=profile)


SVT_PRESET = 6

H264 = Coder("H.264", "qp", range(51, 0, -1), ".mp4", _x264)  # QP 0 is lossless, which few players decode
_HEVC = Coder("HEVC", "crf", range(51, -1, -1), ".mp4", _x265)


class Codec(NamedTuple):
    """How a codec codes a picture and, unless None, the scene of a clip."""

    picture: Coder
    clip: Coder | None


CODECS = {
    "h264": Codec(H264, H264),
    "hevc": Codec(_HEVC, _HEVC),
    "av1": Codec(
        Coder("AVIF", "quality", range(101), ".avif", save=_avif),
        Coder("AV1", "crf", range(63, 0, -1), ".mp4", _svt_av1),
    ),
    "jpeg": Codec(Coder("JPEG", "quality", range(1, 101), ".jpg", save=_jpeg), None),
}


def coder(codec, clip):
    """The Coder of a codec, a key of CODECS, for a clip or else a picture.  Raises UserError where there is none."""
    if codec not in CODECS:
        raise UserError(f"codec {codec}: expected one of {', '.join(CODECS)}")
    found = CODECS[codec].clip if clip else CODECS[codec].picture
    if not found:
        clips = [name for name, both in CODECS.items() if both.clip]
        raise UserError(f"codec {codec} is for pictures; expected one of {', '.join(clips)} for a clip")
    return found


def coarsest(settings, quality, wanted, step=0.6):
    """(setting, its quality): the first of `settings`, coarsest first, with quality(setting) >= wanted; else the last.

    quality: in dB, called as seldom as the search allows; it should not fall along `settings`.  step: dB from one
    to the next, for the first guess.
    """
    known = {}
    low, high = -1, len(settings)  # known to be too coarse, known to be good enough
    at = len(settings) // 2
    while high - low > 1:
        known[at] = quality(settings[at])
        low, high = (low, at) if known[at] >= wanted else (at, high)
        if low in known and high in known:
            at = low + (wanted - known[low]) / (known[high] - known[low]) * (high - low)
        else:
            at += (wanted - known[at]) / step
        at = min(max(round(at), low + 1), high - 1)
    best = min(high, len(settings) - 1)
    return settings[best], known[best]
