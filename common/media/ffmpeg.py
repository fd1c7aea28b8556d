"""H.264 at a constant QP as VideoSet coded its clips, decoding, and VMAF, by the ffmpeg program.

Images are uint8 R, G, B arrays.  They reach ffmpeg through its standard input as raw video, so that no file name can
be taken for a pattern.  Needs FFmpeg 5.1 or newer with libx264, and libvmaf for VMAF; imageio-ffmpeg's has both.

Colour: R'G'B' <-> Y'CbCr 4:2:0 by BT.601 in limited range, which ffmpeg and OpenCV assume of an untagged clip.
Streams that start from images are tagged so; a clip keeps its own matrix.  4:2:0 needs even sizes: odd images are
padded by repeating their last row or column, and cropped again after decoding.
"""

import functools
import itertools
import os
import re
import tempfile
from collections.abc import Callable, Generator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import ffmpeg
import numpy as np

from common.core.errors import UserError
from common.core.files import require_content
from common.media.ffmpeg_process import SEAMED, TIMEOUT, Stream, find_ffmpeg, rgb_frames, run

QP_RANGE = range(52)  # x264, 8 bit
LEAST_VMAF = 17  # pixels of height and width; libvmaf crashes below
CLIP_TIMEOUT = 3600  # seconds

# The options of VideoSet's bitstreams, read from their SEI.  The ratios make I, P and B frames share the one QP: x264's
# defaults code I frames about 3 QP finer and B frames 1 to 2 coarser.  `partitions` leaves 8x8 intra blocks out of
# P and B frames, as VideoSet does.
# fmt: off
VIDEOSET_X264 = {
    "ipratio": "1.0", "pbratio": "1.0", "aq-mode": 0, "psy": 0, "mbtree": 0, "ref": 3, "deblock": "0,0", "me": "umh",
    "merange": 128, "subme": 9, "trellis": 2, "partitions": "p8x8,b8x8,i4x4", "no-fast-pskip": 1, "bframes": 3,
    "b-pyramid": 2, "b-adapt": 2, "direct": "auto", "weightb": 1, "weightp": 2, "keyint": 60, "min-keyint": 31,
    "scenecut": 0,
}
# fmt: on
CLIP_THREADS = 8  # VideoSet's number; fixed, because x264's choices depend on it a little
KEY, CORRUPT = 1, 2  # ffmpeg's flags of a packet
ACCURATE = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"


class EncodedImage(NamedTuple):
    """An encoded image: decoded `pixels`, uint8 RGB (H, W, 3); the H.264 `bitstream`; `vmaf`, 0 to 100, if measured."""

    pixels: np.ndarray
    bitstream: bytes
    vmaf: float | None = None


class ClipFormat(NamedTuple):
    """The format of a clip's frames.

    Attributes:
        size: (H, W) as shown.
        sar: The sample aspect ratio, "1/1"; "0/1" where it is not known.
        tick: The unit of their times, in seconds.
        rate: Frames a second; 0 where it is not known.
        scale: Options of ffmpeg's `scale` that make 4:2:0 of them.
        tags: The colours of that 4:2:0, as options of an encoder: "colorspace", "color_primaries", "color_trc",
            "color_range".
    """

    size: tuple[int, int]
    sar: str
    tick: Fraction
    rate: Fraction
    scale: dict[str, str]
    tags: dict[str, str]


def encode_frame(image: np.ndarray, target: Path, value: int, output: Callable[..., Stream]) -> None:
    """Encode a uint8 RGB image (H, W, 3) as a clip of one frame.

    An image of odd size becomes a clip that is one row or column larger: give `decode_frames` the true size.

    Args:
        value: The setting of the encoder; of `x264_output` a QP, 0 to 51, where 0 is lossless.
        output: `x264_output`, or a function of the same arguments.
    """
    frame = _even(image)
    graph = output(_yuv(_raw_input(frame)), target, value, fps_mode="passthrough")
    run(graph, f"encoding an image as {target} with setting {value}", frame.tobytes(), CLIP_TIMEOUT, target)


def decode_frames(path: str | Path, size: tuple[int, int] | None = None) -> Generator[np.ndarray, None, None]:
    """Yield the frames of a clip in the order shown, uint8 RGB (H, W, 3), with one frame in memory at a time.

    Rotation metadata is applied; no frame is dropped or repeated.  UserError comes where damage is reached.

    size: (H, W) that each frame is cropped to, where `encode_frame` padded it.
    """
    for frame, _ in rgb_frames(rgb(clip_input(path)), f"decoding {path}", TIMEOUT):
        yield frame if size is None else frame[: size[0], : size[1]]


def encode_intra(image: np.ndarray, qp: int, with_vmaf: bool = False) -> EncodedImage:
    """Encode a uint8 RGB image (H, W, 3) of any size as one intra frame at `qp`, 0 to 51, and decode it again.

    With VMAF too, ffmpeg starts twice, which takes 0.1 s.  It is measured on Y'CbCr as coded; `vmaf` of the two RGB
    images differs by some hundredths.
    """
    frame, (height, width) = _even(image), image.shape[:2]
    task = f"encoding a {width}x{height} image at QP {qp}"
    graph = x264_output(_yuv(_raw_input(frame)), "pipe:", qp, threads=1, format="h264")
    bitstream, _ = run(graph, task, frame.tobytes())
    if not with_vmaf:
        raw, score = run(_rgb_output(ffmpeg.input("pipe:", format="h264", threads=1)), task, bitstream)[0], None
    else:  # ffmpeg has one standard input: that is for the reference, the bitstream waits in a file
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "coded.264")
            file.write_bytes(bitstream)
            decoded = ffmpeg.input(str(file), threads=1).video.split()
            scored = _vmaf_output(decoded[0], _yuv(_raw_input(frame)), (height, width))
            raw, log = run(ffmpeg.merge_outputs(scored, _rgb_output(decoded[1])), task, frame.tobytes())
        score = read_score(log, "VMAF score", task)
    if len(raw) != frame.size:
        raise UserError(f"{task}: got {len(raw)} bytes of pixels instead of {frame.size}; is {find_ffmpeg()} FFmpeg?")
    return EncodedImage(np.frombuffer(raw, np.uint8).reshape(frame.shape)[:height, :width].copy(), bitstream, score)


def vmaf(reference: np.ndarray, distorted: np.ndarray) -> float:
    """Return the VMAF, 0 to 100, of an image against another of its size, both uint8 RGB (H, W, 3), at least 17 x 17.

    VMAF compares luma only.  libvmaf's default model (v0.6.1: a 1080p screen seen from 3 times its height); a single
    frame has no motion.
    """
    if reference.shape != distorted.shape:
        raise ValueError(f"images of one size expected, got {reference.shape} and {distorted.shape}")
    images = np.concatenate([_even(image) for image in (reference, distorted)])
    height, width = len(images) // 2, images.shape[1]
    stream = _yuv(_raw_input(images)).split()
    upper, lower = (stream[i].filter("crop", width, height, 0, i * height) for i in (0, 1))
    graph = _vmaf_output(lower, upper, (height, width))
    task = f"measuring VMAF of a {width}x{height} image"
    return read_score(run(graph, task, images.tobytes())[1], "VMAF score", task)


def clip_input(path: str | Path) -> Stream:
    """Return a clip's first video stream that is no cover image, as an input of ffmpeg.

    Raises UserError where there is no such file.
    """
    path = os.path.abspath(path)  # so that no name is taken for an option or a URL
    if not os.path.exists(path) or os.path.isdir(path):
        raise UserError(f"{path}: no such file; expected a clip")
    require_content(path, "clip")
    with open(path, "rb") as file:
        start = file.read(32)
    # A playlist, of which ffmpeg knows several kinds, would make it read other files.
    if re.fullmatch(rb"[\t\r\n -~\x80-\xff]{16,}", start) and not start.startswith(b"YUV4MPEG2"):
        raise UserError(f"{path}: text, as of a playlist; expected a clip")
    try:
        path.encode()
    except UnicodeEncodeError:  # which ffmpeg-python cannot pass on
        raise UserError(f"{path}: a name that is not UTF-8; rename the file") from None
    if Path(path).suffix.lower() in (".ts", ".m2ts", ".mts"):
        seamed = _has_seams(path, os.stat(path).st_mtime_ns)
        (SEAMED.add if seamed else SEAMED.discard)(path)  # another file may have had its name
    return _first_video(path)


def _first_video(path: str) -> Stream:
    return ffmpeg.input(path, protocol_whitelist="file")["V:0"]  # a playlist must not make ffmpeg open the network


@functools.lru_cache(maxsize=1000)
def _has_seams(path: str, modified: int) -> bool:
    """Return whether an MPEG-TS was put together of several files, and only its seams look damaged.

    The packets' counters jump at a seam, so the frame before it counts as corrupt.  After it comes a keyframe, and
    its time is not that of a next frame (ffmpeg repeats the last one).

    modified: When; a file that has changed is read again.
    """
    SEAMED.add(path)  # for now, so that ffmpeg reads on
    try:
        graph = _first_video(path).output("pipe:", format="framecrc", c="copy").global_args("-copyts")
        table = run(graph, f"reading {path}", timeout=CLIP_TIMEOUT)[0].decode()
    except UserError:
        table = ""  # it will be said again
    SEAMED.discard(path)
    packets = [
        (int(time) / 90000, int(flags or "1", 16))
        for time, flags in re.findall(r"^\d+, *(-?\d+),(?:.*?, F=0x(\w+))?", table, re.MULTILINE)
    ]

    def is_seam(number: int) -> bool:
        steps = itertools.pairwise(packets[number : number + 4])
        return any(flags & KEY and not 0 < time - before <= 1 for (before, _), (time, flags) in steps)

    corrupt = [number for number, (_, flags) in enumerate(packets) if flags & CORRUPT]
    return bool(corrupt) and all(map(is_seam, corrupt))


def clip_format(path: str | Path) -> ClipFormat:
    """Decode the first frame of a clip and return its format.  Raises UserError where there is none."""
    graph = clip_input(path).filter("showinfo", checksum=0).output("-", format="null", vframes=1)
    _, log = run(graph, f"decoding {path}", timeout=CLIP_TIMEOUT)
    frame = re.search(r" fmt:(\w+) .*?sar:(\d+/\d+) s:(\d+)x(\d+) ", log)
    clock = re.search(r"config in time_base: (\d+)/(\d+), frame_rate: (\d+)/(\d+)", log)
    if not frame or not clock:
        raise UserError(f"{path}: no frame of it can be decoded; expected a clip")
    pixels, sar, *size = frame.groups()
    found = re.search(r"color_range:(\S+) color_space:(\S+) color_primaries:(\S+) color_trc:(\S+)", log)
    levels, *found = found.groups() if found else ("unknown",) * 4
    tags: dict[str, str] = dict(zip(("colorspace", "color_primaries", "color_trc"), found))
    tags["color_trc"] = {"bt470m": "gamma22", "bt470bg": "gamma28"}.get(tags["color_trc"], tags["color_trc"])
    size = int(size[1]), int(size[0])
    full, scale = levels == "pc" and "yuv" in pixels, {}
    if re.match("gbr|[0a]?rgb|[0a]?bgr|x2|pal8", pixels):  # players take large untagged clips as BT.709
        scale["out_color_matrix"] = tags["colorspace"] = (
            "bt709" if max(size) >= 1280 or min(size) >= 720 else "smpte170m"
        )
    scale["out_range"] = tags["color_range"] = "pc" if full else "tv"  # its own: swscale's conversion moves chroma
    tags = {name: tag for name, tag in tags.items() if tag not in ("unknown", "reserved")}
    num, den, *rate = map(int, clock.groups())
    return ClipFormat(size, sar, Fraction(num, den), Fraction(*rate) if all(rate) else Fraction(0), scale, tags)


def clip_as_yuv420(stream: Stream, size: tuple[int, int], scale: dict[str, str]) -> Stream:
    """Return a clip's frames as 8-bit 4:2:0 of even size, untouched where they are that already.

    Args:
        size: (H, W), to which frames of other sizes are scaled.
        scale: Of its ClipFormat.
    """
    height, width = size
    stream = stream.filter("scale", width, height, flags=ACCURATE, **scale)  # a clip may change its size
    if height % 2 or width % 2:
        stream = stream.filter("format", "yuv444p").filter("pad", width + width % 2, height + height % 2)
        stream = stream.filter("fillborders", right=width % 2, bottom=height % 2, mode="smear")
    return stream.filter("format", "yuv420p")


def rgb(stream: Stream) -> Stream:
    """Return a clip's frames as RGB; untagged frames count as BT.601.  Primaries and curve are not looked at."""
    stream = stream.filter("setparams", color_primaries="unknown", color_trc="unknown")  # swscale refuses some of them
    return stream.filter("scale", out_range="full", flags=ACCURATE).filter("format", "rgb24")


def x264_options(qp: int, threads: int, more: dict[str, Any] | None = None) -> dict[str, str]:
    """Return ffmpeg's options for coding as VideoSet was.  more: further options of x264."""
    if isinstance(qp, bool) or qp not in QP_RANGE:
        raise UserError(f"QP {qp}: expected a whole number from {QP_RANGE[0]} to {QP_RANGE[-1]}")
    settings = ":".join(f"{name}={value}" for name, value in {**VIDEOSET_X264, **(more or {})}.items())
    return {"x264-params": f"qp={int(qp)}:{settings}:threads={threads}:lookahead-threads=1"}


def x264_output(stream: Stream, target: str | Path, qp: int, threads: int = CLIP_THREADS, **options: Any) -> Stream:
    """Return an output that is coded as VideoSet was.  options: of ffmpeg."""
    return stream.output(str(target), vcodec="libx264", **x264_options(qp, threads), **options)


def _even(pixels: np.ndarray) -> np.ndarray:
    """Return uint8 (H, W, 3), else ValueError, with H and W rounded up to even: the last row and column repeat."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3 or not pixels.size:
        raise ValueError(f"uint8 (H, W, 3) expected, got {pixels.dtype} {pixels.shape}")
    height, width = pixels.shape[:2]
    return np.pad(pixels, [(0, height % 2), (0, width % 2), (0, 0)], "edge")


def _raw_input(frame: np.ndarray) -> Stream:
    size = f"{frame.shape[1]}x{frame.shape[0]}"
    return ffmpeg.input("pipe:", format="rawvideo", pixel_format="rgb24", framerate="30", s=size)


def _yuv(stream: Stream) -> Stream:
    return stream.filter("scale", out_color_matrix="bt601", out_range="tv", flags=ACCURATE).filter("format", "yuv420p")


def _rgb_output(stream: Stream) -> Stream:
    return rgb(stream).output("pipe:", format="rawvideo", pix_fmt="rgb24")


def _vmaf_output(distorted: Stream, reference: Stream, size: tuple[int, int]) -> Stream:
    if min(size) < LEAST_VMAF:
        raise UserError(f"VMAF of an image of {size[1]}x{size[0]} pixels is not defined; expected at least 17x17")
    return ffmpeg.filter([distorted, reference], "libvmaf", n_threads=1).output("-", format="null")


def read_score(log: str, name: str, task: str) -> float:
    """Return the mean that a filter has logged under a name; raise UserError where there is none."""
    score = re.search(rf"{name}: ?([\d.]+)", log)
    if not score:
        raise UserError(f"{task}: no score came back; is {find_ffmpeg()} FFmpeg?")
    return float(score[1])
