"""H.264 at a constant QP as VideoSet coded its clips, decoding, and VMAF: what the ffmpeg program does for us.

Pictures are uint8 R, G, B arrays.  They reach ffmpeg through its standard input as raw video, so that no file name can
be taken for a pattern.  Needs FFmpeg 5.1 or newer with libx264, and libvmaf for VMAF; imageio-ffmpeg's has both.

Colour: R'G'B' <-> Y'CbCr 4:2:0 by BT.601 in limited range, which is what ffmpeg and OpenCV take an untagged clip for.
Streams that start from pictures are tagged so; a clip keeps its own matrix.  4:2:0 needs even sizes: odd pictures are
padded by repeating their last row or column, and cropped again after decoding.
"""

import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import ffmpeg
import numpy as np

from common.core.errors import UserError
from common.core.files import atomic_write, require_content
from common.media.ffmpeg_process import TIMEOUT, find_ffmpeg, pictures, run

QP_RANGE = range(52)  # x264, 8 bit
CLIP_TIMEOUT = 3600  # seconds

# The options of VideoSet's bitstreams, read from their SEI.  The ratios make I, P and B frames share the one QP: x264's
# defaults code I frames about 3 QP finer and B frames 1 to 2 coarser.  `partitions` leaves 8x8 intra blocks out of
# P and B frames, as VideoSet does.
VIDEOSET_X264 = {
    "ipratio": "1.0",
    "pbratio": "1.0",
    "aq-mode": 0,
    "psy": 0,
    "mbtree": 0,
    "ref": 3,
    "deblock": "0,0",
    "me": "umh",
    "merange": 128,
    "subme": 9,
    "trellis": 2,
    "partitions": "p8x8,b8x8,i4x4",
    "no-fast-pskip": 1,
    "bframes": 3,
    "b-pyramid": 2,
    "b-adapt": 2,
    "direct": "auto",
    "weightb": 1,
    "weightp": 2,
    "keyint": 60,
    "min-keyint": 31,
    "scenecut": 0,
}
CLIP_THREADS = 8  # VideoSet's number; fixed, because x264's choices depend on it a little
ACCURATE = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"


class EncodedImage(NamedTuple):
    """A coded picture: decoded `pixels`, uint8 RGB (H, W, 3); the H.264 `bitstream`; `vmaf`, None if not asked for."""

    pixels: np.ndarray
    bitstream: bytes
    vmaf: float | None = None


def encode_h264(source, target, qp, rate=30, timeout=CLIP_TIMEOUT, output=None):
    """Code `source` in H.264 at the constant `qp` with VideoSet's settings; `target` is written whole or not at all.

    source: a clip's path (its first video stream, at its own frame rate), or uint8 RGB (H, W, 3) or (N, H, W, 3) at
    `rate` frames a second.  target: a path ending in .264, .h264 or .mp4.  qp: 0 to 51; High profile from 1 on, while
    x264 makes QP 0 lossless, which only the High 4:4:4 Predictive profile can hold.  The target of odd-sized input is
    one row or column larger: give `decode` the size.  output: instead of `x264_output`, called alike; `qp` may then be
    another setting.  Raises UserError.
    """
    target = Path(os.path.abspath(target))
    if target.suffix.lower() not in (".264", ".h264", ".mp4"):
        raise UserError(f"{target}: expected a name that ends in .264, .h264 or .mp4")
    if isinstance(source, np.ndarray):
        frames = _even(_checked(source[None] if source.ndim == 3 else source))
        stream, data = _yuv(_raw_input(frames, rate)), frames.tobytes()
    else:
        stream, data = clip_as_yuv420(clip_input(source), clip_size(source)), None
    with atomic_write(target) as temporary:
        graph = (output or x264_output)(stream, temporary, qp, CLIP_THREADS, fps_mode="passthrough")
        run(graph, f"coding {'pictures' if data else source} as {target} at QP {qp}", data, timeout, temporary)


def decode_frames(path, size=None, timeout=TIMEOUT):
    """Yield the frames of a clip, in the order they are shown, as uint8 RGB (H, W, 3); one at a time is in memory.

    size: (H, W) that each frame is cropped to, where `encode` padded it.  Rotation metadata is applied; frames are
    neither dropped nor repeated.  Damage anywhere in the clip raises UserError when it is reached, as does a single
    frame that takes longer than `timeout` seconds.
    """
    for frame, _ in pictures(rgb(clip_input(path)), f"decoding {path}", timeout):
        yield frame if size is None else frame[: size[0], : size[1]]


def encode_intra(pixels, qp):
    """One picture, uint8 RGB (H, W, 3) of any size, through an intra frame at `qp` (0 to 51) and back: a `Coded`."""
    return _code(pixels, qp, with_vmaf=False)


def encode_and_score(pixels, qp):
    """As `encode_intra`, with the VMAF of the decoded frame against the picture: two starts of ffmpeg in all, 0.1 s.

    Measured on Y'CbCr as coded; `vmaf` of the two RGB pictures differs by some hundredths.
    """
    return _code(pixels, qp, with_vmaf=True)


def vmaf(reference, distorted):
    """VMAF, 0 to 100, of one picture against another of its size, both uint8 RGB (H, W, 3) of at least 17 x 17.

    VMAF compares luma only.  libvmaf's default model (v0.6.1: a 1080p screen seen from 3 times its height); a single
    frame has no motion.
    """
    if reference.shape != distorted.shape:
        raise ValueError(f"pictures of one size expected, got {reference.shape} and {distorted.shape}")
    pair = [_even(_checked(picture)) for picture in (reference, distorted)]
    height, width = pair[0].shape[:2]
    both = _yuv(_raw_input(np.concatenate(pair)[None])).split()
    reference, distorted = (both[i].filter("crop", width, height, 0, i * height) for i in (0, 1))
    graph = _vmaf_output(distorted, reference, (height, width))
    return _vmaf_score(run(graph, f"measuring VMAF of a {width}x{height} picture", np.concatenate(pair).tobytes())[1])


def frame_qps(path):
    """[("I", 28), ("P", 28), ...]: type and QP of each frame of an H.264 clip, in coding order.

    Read from the slice headers (26 + pic_init_qp_minus26 + slice_qp_delta), the base of all blocks of the slice.
    `-export_side_data venc_params` would not do: its `qp` is the picture parameter set's alone, and says 28 for an I
    frame of QP 25.  Takes about 10 kB of memory a frame.  Raises UserError where the clip is unreadable or not H.264.
    """
    graph = clip_input(path).output("-", format="null", vcodec="copy", **{"bsf:v": "trace_headers"})
    log = run(graph, f"reading the QPs of {path}", timeout=CLIP_TIMEOUT)[1]
    fields = ("first_mb_in_slice", "slice_type", "pic_parameter_set_id", "pic_init_qp_minus26", "slice_qp_delta")
    frames, initial, now = [], {}, {}
    for name, value in re.findall(rf"\b({'|'.join(fields)}) +[01]+ = (-?\d+)", log):
        now[name] = int(value)
        if name == "pic_init_qp_minus26":
            initial[now["pic_parameter_set_id"]] = 26 + now[name]
        elif name == "slice_qp_delta" and now["first_mb_in_slice"] == 0:  # other slices belong to the same frame
            frames.append(("PBI"[now["slice_type"] % 5], initial[now["pic_parameter_set_id"]] + now[name]))
    if not frames:
        raise UserError(f"{path}: no H.264 frame found; expected a clip coded in H.264")
    return frames


def _code(pixels, qp, with_vmaf):
    height, width = _checked(pixels).shape[:2]
    frame = _even(pixels)
    doing = f"coding a {width}x{height} picture at QP {qp}"
    bitstream = run(
        x264_output(_yuv(_raw_input(frame[None])), "pipe:", qp, threads=1, format="h264"), doing, frame.tobytes()
    )[0]
    if not with_vmaf:
        raw, score = run(_rgb_output(ffmpeg.input("pipe:", format="h264", threads=1)), doing, bitstream)[0], None
    else:  # ffmpeg has one standard input: that is for the reference, the bitstream waits in a file
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "coded.264")
            file.write_bytes(bitstream)
            decoded = ffmpeg.input(str(file), threads=1).video.split()
            scored = _vmaf_output(decoded[0], _yuv(_raw_input(frame[None])), frame.shape[:2])
            raw, log = run(ffmpeg.merge_outputs(scored, _rgb_output(decoded[1])), doing, frame.tobytes())
        score = _vmaf_score(log)
    if len(raw) != frame.size:
        raise UserError(f"{doing}: got {len(raw)} bytes of pixels instead of {frame.size}; is {find_ffmpeg()} FFmpeg?")
    return EncodedImage(np.frombuffer(raw, np.uint8).reshape(frame.shape)[:height, :width].copy(), bitstream, score)


def _checked(pixels):
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[-1] != 3 or not pixels.size:
        raise ValueError(f"uint8 (H, W, 3) or (N, H, W, 3) expected, got {pixels.dtype} {pixels.shape}")
    return pixels


def _even(pixels):
    """(..., H, W, 3) with H and W rounded up to even numbers by repeating the last row and column."""
    height, width = pixels.shape[-3:-1]
    return np.pad(pixels, [(0, 0)] * (pixels.ndim - 3) + [(0, height % 2), (0, width % 2), (0, 0)], "edge")


def _raw_input(frames, rate=30):
    return ffmpeg.input(
        "pipe:", format="rawvideo", pixel_format="rgb24", framerate=str(rate), s=f"{frames.shape[2]}x{frames.shape[1]}"
    )


def clip_input(path):
    path = os.path.abspath(path)  # and so neither an option nor a URL, whatever the name
    if not os.path.exists(path) or os.path.isdir(path):
        raise UserError(f"{path}: no such file; expected a clip")
    require_content(path, "clip")
    try:
        path.encode()
    except UnicodeEncodeError:  # which ffmpeg-python cannot pass on
        raise UserError(f"{path}: a name that is not UTF-8; rename the file") from None
    return ffmpeg.input(path, protocol_whitelist="file")["v:0"]  # a playlist must not make ffmpeg open the network


def _yuv(stream):
    return stream.filter("scale", out_color_matrix="bt601", out_range="tv", flags=ACCURATE).filter("format", "yuv420p")


def rgb(stream):
    # Untagged frames are BT.601 to the filter.
    return stream.filter("scale", out_range="full", flags=ACCURATE).filter("format", "rgb24")


def clip_size(path):
    """(H, W) of a clip's first frame as it is shown."""
    frames = decode_frames(path)
    height, width = next(frames).shape[:2]
    frames.close()
    return height, width


def clip_as_yuv420(stream, size):
    """The frames of a clip's stream, of `size` (H, W): untouched where 8-bit 4:2:0, even and of limited range."""
    height, width = size
    stream = stream.filter("scale", width, height, out_range="tv", flags=ACCURATE)  # a clip may change its size
    if height % 2 or width % 2:
        stream = stream.filter("format", "yuv444p").filter("pad", width + width % 2, height + height % 2)
        stream = stream.filter("fillborders", right=width % 2, bottom=height % 2, mode="smear")
    return stream.filter("format", "yuv420p")


def x264_output(stream, target, qp, threads, more=None, **options):
    """An output coded as VideoSet, with `more` of x264's options; `options` are ffmpeg's."""
    if isinstance(qp, bool) or qp not in QP_RANGE:
        raise UserError(f"QP {qp}: expected a whole number from {QP_RANGE[0]} to {QP_RANGE[-1]}")
    settings = ":".join(f"{name}={value}" for name, value in {**VIDEOSET_X264, **(more or {})}.items())
    options["x264-params"] = f"qp={int(qp)}:{settings}:threads={threads}:lookahead-threads=1"
    return stream.output(str(target), vcodec="libx264", **options)


def _rgb_output(stream):
    return rgb(stream).output("pipe:", format="rawvideo", pix_fmt="rgb24")


def _vmaf_output(distorted, reference, size):
    if min(size) <= 16:  # libvmaf crashes
        raise UserError(f"VMAF of a picture of {size[1]}x{size[0]} pixels is not defined; expected at least 17x17")
    return ffmpeg.filter([distorted, reference], "libvmaf", n_threads=1).output("-", format="null")


def _vmaf_score(log):
    score = re.search(r"VMAF score: ([\d.]+)", log)
    if not score:
        raise UserError(f"measuring VMAF: no score came back; is {find_ffmpeg()} FFmpeg?")
    return float(score[1])
