"""Frames of clips: which to take, and the same frames as they look when the clip is coded at other QPs."""

import contextlib
import os
import re
import tempfile
from pathlib import Path

from common.errors import UserError
from common.ffmpeg import CLIP_THREADS, CLIP_TIMEOUT, clip_as_yuv420, clip_input, clip_size, rgb, x264_output
from common.ffmpeg_process import pictures, run
from common.images import write_png

CLIP_SUFFIXES = frozenset({".264", ".265", ".avi", ".h264", ".hevc", ".m4v", ".mkv", ".mov", ".mp4", ".webm", ".y4m"})
SCENE = 0.3  # a cut, of ffmpeg's scene score from 0 to 1
MOST = 3000  # frames that can be named one by one: ffmpeg's command line has no room for more


def take(path, choice, rate=None, fit=None, codings=None):
    """Yield (number, seconds, pixels) of chosen frames of a clip: uint8 RGB (H, W, 3), one in memory at a time.

    choice: "first"; "middle"; "keyframes"; "scenes", the first frame of each; "2s", the first of each two seconds, or
    of another span; or frame numbers, "0,30,60" or a list.  Numbers count from 0 in the order shown.
    rate: frames a second, where the clip's own times are not to be relied on.
    fit: (H, W); each frame is scaled to cover it and its middle cut out.
    codings: {QP: path}; the whole clip is coded there as `common.ffmpeg.encode` would.

    The clip is decoded once, and to its end.  Raises UserError for damage anywhere in it, for a number that it does not
    have, and as `encode`.  Rotation metadata is applied; no frame is dropped or repeated.
    """
    stream, outputs = clip_input(path), []
    if fit:
        scaled = stream.filter("scale", *fit[::-1], force_original_aspect_ratio="increase", flags="lanczos+accurate_rnd")
        stream = scaled.filter("crop", *fit[::-1])
    if codings:
        copies = stream.split()
        stream, coded = copies[0], clip_as_yuv420(copies[1], fit or clip_size(path)).split()
        for index, (qp, target) in enumerate(codings.items()):
            target = os.path.abspath(target)
            outputs.append(x264_output(coded[index], target, qp, CLIP_THREADS, fps_mode="passthrough"))
    # `print` writes to the log which frame it is, on the way to us.
    chosen = stream.filter("select", f"if({expression(choice, path, rate)},1+0*print(n)+0*print(t),0)")
    printed, number = [], -1
    for pixels, log in pictures(rgb(chosen), f"decoding {path}", CLIP_TIMEOUT, outputs):
        printed += re.findall(r"\[Eval @ \w+\] \[info\] (\S+)", log)
        number, seconds, *printed = printed
        number, seconds = int(float(number)), float(seconds)
        yield number, number / rate if rate else seconds, pixels
    last = max(_numbers(choice), default=number)
    if number < last:
        raise UserError(f"{path}: has no frame {last}, counted from 0; choose other frames, or copy the clip again")


def save_frames(path, choice, files, qps=(), given=None, rate=None, fit=None):
    """Write chosen frames of a clip as PNG files, raw and as coded at each of `qps`; returns [(number, seconds), ...].

    files: maps how many frames were before, 0, 1, ..., to the paths of the raw frame and of the frames at `qps`.
    given: {QP: path} of clips that are coded already, of the same frames; for other QPs the clip is coded here.
    choice, rate, fit: as `take`, whose errors it raises.
    """
    given, moments = given or {}, []
    with contextlib.ExitStack() as stack:
        codings = {qp: None for qp in qps if qp not in given}
        if codings:
            Path(files(0)[0]).parent.mkdir(parents=True, exist_ok=True)  # where there is room for clips as well
            folder = stack.enter_context(tempfile.TemporaryDirectory(dir=Path(files(0)[0]).parent))
            codings = {qp: Path(folder, f"{qp}.264") for qp in codings}
        for index, (number, seconds, pixels) in enumerate(take(path, choice, rate, fit, codings)):
            write_png(files(index)[0], pixels)
            moments.append((number, seconds))
            height, width = pixels.shape[:2]
        for position, qp in enumerate(qps, 1):
            source = codings.get(qp) or given[qp]
            for index, (_, _, pixels) in enumerate(take(source, [number for number, _ in moments])):
                if (height, width) not in (pixels.shape[:2], (pixels.shape[0] - height % 2, pixels.shape[1] - width % 2)):
                    size = "x".join(map(str, pixels.shape[1::-1]))
                    raise UserError(f"{source}: {size} frames, while {path} has {width}x{height}; copy both again")
                write_png(files(index)[position], pixels[:height, :width])
    return moments


def is_choice(text):
    """Whether `take` knows the choice `text`."""
    span = re.fullmatch(r"(\d+(?:\.\d+)?)s", text)
    return text in ("first", "middle", "keyframes", "scenes") or bool(span and float(span[1])) or bool(_numbers(text))


def expression(choice, path, rate=None):
    """The choice as an expression of ffmpeg's `select`: not 0 for a frame to take.  `path` tells where the middle is."""
    numbers = _numbers(choice)
    if numbers:
        if len(numbers) > MOST:
            raise UserError(f"{path}: {len(numbers)} frames chosen of one clip; expected at most {MOST}, choose fewer")
        return _any_of(sorted(set(numbers)))
    if choice == "middle":
        return f"eq(n,{_count(path) // 2})"
    if choice.endswith("s") and choice[0].isdigit():
        now, before = (f"n/{rate}", f"(n-1)/{rate}") if rate else ("t", "prev_t")
        return f"eq(n,0)+gt(floor({now}/{choice[:-1]}),floor({before}/{choice[:-1]}))"
    return {"first": "eq(n,0)", "keyframes": "key", "scenes": f"eq(n,0)+gt(scene,{SCENE})"}[choice]


def _numbers(choice):
    """The frame numbers that a choice names, or []."""
    if not isinstance(choice, str):
        return list(choice)
    return [int(number) for number in choice.split(",")] if re.fullmatch(r"\d+(,\d+)*", choice) else []


def _any_of(numbers):
    """As a tree, since ffmpeg takes no more than 99 terms in a row."""
    if len(numbers) == 1:
        return f"eq(n,{numbers[0]})"
    middle = len(numbers) // 2
    return f"if(lt(n,{numbers[middle]}),{_any_of(numbers[:middle])},{_any_of(numbers[middle:])})"


def _count(path):
    """Coded pictures in a clip, without decoding them."""
    packets = run(clip_input(path).output("pipe:", format="framecrc", vcodec="copy"), f"reading {path}")[0]
    return sum(not line.startswith(b"#") for line in packets.splitlines())
