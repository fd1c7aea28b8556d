"""The encoders of images and clips, and their options."""

import io
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import ffmpeg
import numpy as np
from PIL import Image, features

from common.core.errors import UserError
from common.media.ffmpeg import CLIP_THREADS, x264_options
from common.media.ffmpeg_process import Stream, run

SVT_PRESET = 6
os.environ.setdefault("SVT_LOG", "1")  # otherwise it says on stderr how it is set up


class Encoder(NamedTuple):
    """One encoder: a library of ffmpeg, which has `options`, or Pillow, which has `save`.

    Attributes:
        parameter: What the encoder calls its setting; "qp" is that of H.264, any other is found by
            `common.encoding.matching`.
        settings: Its values, from the coarsest to the finest.
        suffix: Of the files of images.
        library: ffmpeg's name of the encoder.
        decoder: ffmpeg's name of a decoder.
        reorder: How many frames at most are coded before a frame that is shown before them.
        options: options(value, rate) returns ffmpeg's options.  The headers of the stream do not depend on the value,
            so that parts of one stream may have different ones; `rate`, frames a second, is for them only and None for
            an image.
        save: save(pixels, file, value, ICC profile or None).
    """

    title: str
    parameter: str
    settings: range
    suffix: str
    library: str = ""
    decoder: str = ""
    reorder: int = 0
    options: Callable[[Any, Fraction | None], dict[str, Any]] = lambda value, rate: {}
    save: Callable[..., None] | None = None

    def check(self, clip: bool) -> None:
        """Raise UserError, with the encoder's name, where PyAV (clips), ffmpeg or Pillow (images) is without it."""
        if self.save:
            self.save(np.zeros((16, 16, 3), np.uint8), io.BytesIO(), self.settings[0], None)
        elif not clip:
            blank = ffmpeg.input("color=size=64x64:rate=1:duration=1", format="lavfi")
            run(self.output(blank, "-", self.settings[0], format="null"), f"trying {self.title}")
        elif self.library not in av.codecs_available:
            raise UserError(f"PyAV is built without {self.library}; `pip install --force-reinstall av` brings it")

    def output(self, stream: Stream, target: str | Path, value: int, **options: Any) -> Stream:
        """Return ffmpeg's output of an image."""
        return stream.output(str(target), vcodec=self.library, **self.options(value, None), **options)


def _x264(value: int, rate: Fraction | None) -> dict[str, Any]:
    # Without `stitchable` the QP would be in the picture parameter set.
    return x264_options(value, CLIP_THREADS, {"stitchable": 1, "fps": _ratio(rate)} if rate else {})


def _x264_crf(value: float, rate: Fraction | None) -> dict[str, Any]:
    stitchable = f":stitchable=1:fps={_ratio(rate)}" if rate else ""
    return {"preset": "medium", "crf": value, "x264-params": f"threads={CLIP_THREADS}{stitchable}"}


def _x265_crf(value: float, rate: Fraction | None) -> dict[str, Any]:
    # With a tag that Apple's players know.
    params = "log-level=error" + (f":fps={_ratio(rate)}" if rate else "")
    return {"preset": "medium", "crf": value, "tag:v": "hvc1", "x265-params": params}


def _x265(value: int, rate: Fraction | None) -> dict[str, Any]:
    return {"tune": "psnr", **_x265_crf(value, rate)}  # PSNR is what its setting is found by


def _x265_qp(value: int, rate: Fraction | None) -> dict[str, Any]:
    options = _x265(value, rate)
    params = f"qp={options.pop('crf')}:ipratio=1:pbratio=1:{options['x265-params']}"  # one QP in frames of all types
    return options | {"x265-params": params}


def _svt_av1(value: int, rate: Fraction | None) -> dict[str, Any]:
    rate = rate or Fraction(30)
    params = f"tune=1:fps-num={rate.numerator}:fps-denom={rate.denominator}"  # tune=1: PSNR
    return {"preset": SVT_PRESET, "crf": value, "svtav1-params": params}


def _ratio(rate: Fraction) -> str:
    return f"{rate.numerator}/{rate.denominator}"


def _jpeg(pixels: np.ndarray, file: Any, value: int, profile: bytes | None) -> None:
    Image.fromarray(pixels).save(file, "JPEG", quality=value, subsampling="4:2:0", optimize=True, icc_profile=profile)


def _avif(pixels: np.ndarray, file: Any, value: int, profile: bytes | None) -> None:
    if not features.check("avif"):
        raise UserError("this Pillow is built without AVIF; pip install pillow==12.3.0, or choose another codec")
    Image.fromarray(pixels).save(file, "AVIF", quality=value, subsampling="4:2:0", icc_profile=profile)


H264 = Encoder(
    "H.264", "qp", range(51, 0, -1), ".mp4", "libx264", "h264", 2, _x264
)  # QP 0 is lossless, which few players decode
_HEVC = Encoder("HEVC", "crf", range(51, -1, -1), ".mp4", "libx265", "hevc", 2, _x265)
_HEVC_QP = _HEVC._replace(parameter="qp", settings=range(51, 0, -1), options=_x265_qp)
_HEVC_CRF = _HEVC._replace(options=_x265_crf)
_H264_CRF = H264._replace(parameter="crf", options=_x264_crf)
_AVIF = Encoder("AVIF", "quality", range(101), ".avif", save=_avif)
_AV1 = Encoder("AV1", "crf", range(63, 0, -1), ".mp4", "libsvtav1", "libdav1d", 0, _svt_av1)
_JPEG = Encoder("JPEG", "quality", range(1, 101), ".jpg", save=_jpeg)

ENCODERS: dict[str, tuple[Encoder, Encoder | None]] = {
    "h264": (H264, H264),
    "hevc": (_HEVC, _HEVC),
    "av1": (_AVIF, _AV1),
    "jpeg": (_JPEG, None),
    "hevc-qp": (_HEVC_QP, _HEVC_QP),
    "h264-crf": (_H264_CRF, _H264_CRF),
    "hevc-crf": (_HEVC_CRF, _HEVC_CRF),
}
"""For each of CODECS, which `common.encoding.config` names: the encoder of images, and that of clips, if it has one."""


def find_encoder(codec: str, clip: bool) -> Encoder:
    """Return the encoder of a codec for a clip, or else for an image.  Raises UserError where it has none."""
    for_images, for_clips = ENCODERS[codec]
    encoder = for_clips if clip else for_images
    if not encoder:
        clips = ", ".join(name for name, (_, for_clips) in ENCODERS.items() if for_clips)
        raise UserError(f"codec {codec} is for images; expected one of {clips} for a clip")
    return encoder
