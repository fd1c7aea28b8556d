"""Clips: which files are clips, what ffmpeg says about one, chosen frames of it, and how two streams differ.

What the project wants to know about a clip is read from ffmpeg's log.  PyAV was tried and is not exact: it gives raw
H.264 no times, counts packets before the first keyframe, and has no name for a codec that it cannot decode.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import ffmpeg
import numpy as np

from common.core import threads
from common.core.errors import UserError
from common.media.ffmpeg import (
    CLIP_TIMEOUT,
    LEAST_VMAF,
    clip_as_yuv420,
    clip_format,
    clip_input,
    read_score,
    rgb,
    x264_output,
)
from common.media.ffmpeg_process import Stream, find_ffmpeg, output_lines, rgb_frames, run
from common.media.metrics import HIGHEST_DB

CUT_SCORE = 0.3  # of ffmpeg's scene score, 0 to 1: a frame above it begins a scene
HIDDEN = 4  # ffmpeg's flag of a packet that an edit list hides
MOST_NUMBERS = 3000  # frames that can be chosen by number: ffmpeg's command line has no room for more
HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}  # transfer characteristics


def extract_frames(
    path: str | Path,
    choice: str | Sequence[int],
    rate: float | None = None,
    size: tuple[int, int] | None = None,
    codings: dict[int, Path] | None = None,
) -> Iterator[tuple[int, float, np.ndarray]]:
    """Yield (number, seconds, image) of chosen frames of a clip, uint8 RGB (H, W, 3), with one in memory at a time.

    The clip is decoded once, to its end.  Rotation metadata is applied; no frame is dropped or repeated.

    Args:
        choice: "first"; "middle"; "keyframes"; "scenes", the first frame of each; "2s", the first of each two seconds,
            or of another span; "scenes+2s" for both; or frame numbers, "0,30,60" or a list.  Numbers count from 0 in
            the order shown.
        rate: Frames a second, which replaces the clip's own times.
        size: (H, W).  Each frame is scaled to cover it, and its middle is cut out.
        codings: {QP: path}.  The whole clip is also encoded there in H.264, with VideoSet's settings.

    Raises:
        UserError: The clip is damaged anywhere, has no frame of a chosen number, changes its size, or ffmpeg failed.
    """
    stream, outputs = clip_input(path), []
    if size:
        scaled = stream.filter(
            "scale", *size[::-1], force_original_aspect_ratio="increase", flags="lanczos+accurate_rnd"
        )
        stream = scaled.filter("crop", *size[::-1])
    if codings:
        copies = stream.split()
        own = clip_format(path)
        stream, coded = copies[0], clip_as_yuv420(copies[1], size or own.size, own.scale).split()
        for index, (qp, target) in enumerate(codings.items()):
            target = os.path.abspath(target)
            outputs.append(x264_output(coded[index], target, qp, fps_mode="passthrough"))
    # `print` writes the number and time of each chosen frame to the log.
    chosen = stream.filter("select", f"if({_select(choice, path, rate)},1+0*print(n)+0*print(t),0)")
    printed, number = [], -1
    try:
        for image, log in rgb_frames(rgb(chosen), f"decoding {path}", CLIP_TIMEOUT, outputs):
            printed += re.findall(r"\[Eval @ \w+\] \[info\] (\S+)", log)
            if len(printed) < 2:
                raise UserError(
                    f"decoding {path}: {find_ffmpeg()} does not number its frames; expected FFmpeg 5.1 or newer"
                )
            before, (number, seconds, *printed) = number, printed
            number, seconds = int(float(number)), float(seconds)
            if number <= before:  # ffmpeg counts anew where frames change
                raise UserError(
                    f"{path}: after frame {before} its frames have another size, pixel format or range; "
                    "make them alike first: ffmpeg -i CLIP -vf scale=W:H:out_range=tv,format=yuv420p ..."
                )
            yield number, number / rate if rate else seconds, image
    except UserError:
        # Where all chosen numbers lie beyond the end, this error only says that no frame came.
        if number >= 0 or min(_numbers(choice), default=0) < max(count_frames(path), 1):
            raise
    last = max(_numbers(choice), default=number)
    if number < last:
        raise UserError(f"{path}: has no frame {last}, counted from 0; choose other frames, or copy the clip again")


def _select(choice: str | Sequence[int], path: str | Path, rate: float | None) -> str:
    """Return an expression for ffmpeg's `select` filter that is not 0 for a chosen frame."""
    numbers = _numbers(choice)
    if numbers:
        if len(numbers) > MOST_NUMBERS:
            raise UserError(
                f"{path}: {len(numbers)} frames chosen of one clip; expected at most {MOST_NUMBERS}, choose fewer"
            )
        return any_of(sorted(set(numbers)))
    assert isinstance(choice, str)
    if "+" in choice:
        return "+".join(_select(part, path, rate) for part in choice.split("+"))
    if choice == "middle":
        return f"eq(n,{count_frames(path) // 2})"
    if choice.endswith("s") and choice[0].isdigit():
        now, before = (f"n/{rate}", f"(n-1)/{rate}") if rate else ("t", "prev_t")
        return f"eq(n,0)+gt(floor({now}/{choice[:-1]}),floor({before}/{choice[:-1]}))"
    return {"first": "eq(n,0)", "keyframes": "key", "scenes": f"eq(n,0)+gt(scene,{CUT_SCORE})"}[choice]


def _numbers(choice: str | Sequence[int]) -> list[int]:
    """Return the frame numbers in a choice, or []."""
    if not isinstance(choice, str):
        return list(choice)
    return [int(number) for number in choice.split(",")] if re.fullmatch(r"\d+(,\d+)*", choice) else []


def any_of(numbers: list[int]) -> str:
    """Return an expression of ffmpeg, "n is one of these": a tree, since it takes no more than 99 terms in a row."""
    if len(numbers) == 1:
        return f"eq(n,{numbers[0]})"
    middle = len(numbers) // 2
    return f"if(lt(n,{numbers[middle]}),{any_of(numbers[:middle])},{any_of(numbers[middle:])})"


def count_frames(path: str | Path) -> int:
    """Return the number of frames that a clip shows, without decoding them."""
    graph = clip_input(path).output("pipe:", format="framecrc", vcodec="copy")
    lines = run(graph, f"reading {path}", timeout=CLIP_TIMEOUT)[0].decode().splitlines()
    flags = [re.search(r", F=0x(\w+)", line) for line in lines if not line.startswith("#")]
    return sum(not (flag and int(flag[1], 16) & HIDDEN) for flag in flags)


def probe(path: str | Path) -> str:
    """Return what ffmpeg's log says about a clip when it is opened.  Raises UserError where it cannot be."""
    graph = clip_input(path).output("-", format="null", c="copy", t=0)  # damaged sound must not stop it
    return run(graph, f"reading {path}")[1].split("Output #0")[0]


def stream_codecs(path: str | Path) -> dict[int, str]:
    """Return ffmpeg's names of the codecs of a clip's streams, by their indices."""
    streams = re.findall(r"Stream #0:(\d+)\S*: \w+: (\w+)", probe(path))
    return {int(index): name for index, name in streams}


def seconds_of(log: str) -> float | None:
    """Return how long a clip is, by ffmpeg's log of opening it; None where that is not known."""
    length = re.search(r"Duration: (\d+):(\d+):(\d+\.\d+)", log)
    return sum(float(part) * unit for part, unit in zip(length.groups(), (3600, 60, 1))) if length else None


def format_warning(log: str, treatment: str) -> str:
    """Say which properties of a clip are lost when it becomes 8-bit progressive SDR frames; "" for an ordinary clip.

    log: ffmpeg's, of reading the clip.  treatment: what happens to the frames, "seen" or "coded".
    """
    video = re.search(r": Video: .*?, (\w+)(?:\(([^)]*)\))?", log)
    pixels, tags = video.groups("") if video else ("", "")
    losses = []
    if depth := re.search(r"(9|1[0246]|48|64)[bl]e$", pixels):
        bits = {"48": "16", "64": "16"}.get(depth[1], depth[1])  # of three or four samples together
        losses.append(f"{bits} bits a sample, {treatment} in 8")
    if curve := re.search(r"[/:](smpte2084|arib-std-b67)", log):
        losses.append(f"HDR ({HDR[curve[1]]}), {treatment} as if it were SDR")
    elif treatment == "seen" and "bt2020" in tags:
        losses.append("BT.2020 colours, seen as if BT.709")
    if re.search(r"(top|bottom) ", tags):
        losses.append(f"interlaced, {treatment} as progressive")
    return "; ".join(losses)


class _Score(NamedTuple):
    """A mean over frames that a filter of FFmpeg measures; `words` stand before it in its log."""

    filter: str
    options: dict[str, int]
    words: str
    least: int  # pixels of height and width, below which it is not defined


_SCORES = {
    "ssim": _Score("ssim", {}, "SSIM Y", 8),
    "vmaf": _Score("libvmaf", {"n_threads": threads.CORES}, "VMAF score", LEAST_VMAF),
}


def compare_streams(
    coded: Stream, reference: Stream, size: tuple[int, int], task: str, progress: Callable[[], object]
) -> dict:
    """Compare two streams of 8-bit 4:2:0 frames of one size, frame by frame, by their numbers.

    size: (height, width).  task: As `common.media.ffmpeg_process`.  progress: Called after each frame.

    Returns:
        {"psnr": [luma dB, at most HIGHEST_DB, of each frame], "ssim": mean of luma, "vmaf": mean}, the last
        two only where they are defined for frames so small.
    """
    defined = {name: score for name, score in _SCORES.items() if min(size) >= score.least}
    copies = [stream.filter("settb", "1/25").filter("setpts", "N").split() for stream in (coded, reference)]
    outputs = []
    with tempfile.NamedTemporaryFile("r") as frames:
        filters = [
            ("psnr", {"stats_file": frames.name}),
            *((score.filter, score.options) for score in defined.values()),
        ]
        for index, (name, options) in enumerate(filters):
            measured = ffmpeg.filter([copy[index] for copy in copies], name, **options)
            # Nobody needs the checksums, but ffmpeg ends when nobody reads them, after this program was killed.
            outputs.append(measured.output("pipe:", format="null" if index else "framecrc", fps_mode="passthrough"))
        log = ""
        for line, said in output_lines(ffmpeg.merge_outputs(*outputs), task, CLIP_TIMEOUT):
            log += said
            if line and not line.startswith(b"#"):
                progress()
        dbs = [min(float(db), HIGHEST_DB) for line in frames for db in re.findall(r"\bpsnr_y:(\S+)", line)]
    return {"psnr": dbs, **{name: read_score(log, score.words, task) for name, score in defined.items()}}
