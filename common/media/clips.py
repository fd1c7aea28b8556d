"""Frames of clips: which to take, and the same frames as they look when the clip is coded at other QPs."""

import os
import re
import tempfile
from pathlib import Path

import ffmpeg

from common.core import threads
from common.core.errors import UserError
from common.media.ffmpeg import CLIP_THREADS, CLIP_TIMEOUT, clip_as_yuv420, clip_input, clip_size, rgb, x264_output
from common.media.ffmpeg_process import find_ffmpeg, pictures, run
from common.media.metrics import HIGHEST_DB

CLIP_SUFFIXES = frozenset(
    ".264 .265 .3gp .avi .flv .h264 .hevc .ivf .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv "
    ".y4m".split()
)
SCENE = 0.3  # a cut, of ffmpeg's scene score from 0 to 1
HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}  # transfer characteristics
MOST = 3000  # frames that can be named one by one: ffmpeg's command line has no room for more


def is_clip(path):
    """Whether a file is a clip, by its suffix; what is none is taken for a picture."""
    return Path(path).suffix.lower() in CLIP_SUFFIXES


def extract_frames(path, choice, rate=None, fit=None, codings=None):
    """Yield (number, seconds, pixels) of chosen frames of a clip: uint8 RGB (H, W, 3), one in memory at a time.

    choice: "first"; "middle"; "keyframes"; "scenes", the first frame of each; "2s", the first of each two seconds, or
    of another span; "scenes+2s" both; or frame numbers, "0,30,60" or a list.  Numbers count from 0 in the order shown.
    rate: frames a second, where the clip's own times are not to be relied on.
    fit: (H, W); each frame is scaled to cover it and its middle cut out.
    codings: {QP: path}; the whole clip is coded there as `common.media.ffmpeg.encode` would.

    The clip is decoded once, and to its end.  Raises UserError for damage anywhere in it, for a number that it does not
    have, and as `encode`.  Rotation metadata is applied; no frame is dropped or repeated.
    """
    stream, outputs = clip_input(path), []
    if fit:
        scaled = stream.filter(
            "scale", *fit[::-1], force_original_aspect_ratio="increase", flags="lanczos+accurate_rnd"
        )
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
    try:
        for pixels, log in pictures(rgb(chosen), f"decoding {path}", CLIP_TIMEOUT, outputs):
            printed += re.findall(r"\[Eval @ \w+\] \[info\] (\S+)", log)
            if len(printed) < 2:
                raise UserError(
                    f"decoding {path}: {find_ffmpeg()} does not number its frames; expected FFmpeg 5.1 or newer"
                )
            number, seconds, *printed = printed
            number, seconds = int(float(number)), float(seconds)
            yield number, number / rate if rate else seconds, pixels
    except UserError:
        # It says that nothing came, and not why, where all that was asked for lies beyond the end.
        if number >= 0 or min(_numbers(choice), default=0) < count_frames(path):
            raise
    last = max(_numbers(choice), default=number)
    if number < last:
        raise UserError(f"{path}: has no frame {last}, counted from 0; choose other frames, or copy the clip again")


def expression(choice, path, rate=None):
    """The choice as an expression of ffmpeg's `select`: not 0 for a frame to take.  `path` has a middle."""
    numbers = _numbers(choice)
    if numbers:
        if len(numbers) > MOST:
            raise UserError(f"{path}: {len(numbers)} frames chosen of one clip; expected at most {MOST}, choose fewer")
        return _any_of(sorted(set(numbers)))
    if "+" in choice:
        return "+".join(expression(part, path, rate) for part in choice.split("+"))
    if choice == "middle":
        return f"eq(n,{count_frames(path) // 2})"
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


def count_frames(path):
    """How many coded pictures a clip has, without decoding them."""
    return len(packets(path))


def packets(path):
    """[(time in ticks, bytes), ...] of a clip's coded pictures in the order shown, without decoding them."""
    text = run(
        clip_input(path).output("pipe:", format="framecrc", vcodec="copy"), f"reading {path}", timeout=CLIP_TIMEOUT
    )[0]
    rows = (line.split(b",") for line in text.splitlines() if not line.startswith(b"#"))
    return sorted((int(row[2]), int(row[4])) for row in rows)


def probe(path):
    """What ffmpeg says of a clip when it opens it, in its own words."""
    clip_input(path)  # refuses what is no file
    whole = ffmpeg.input(os.path.abspath(path), protocol_whitelist="file")
    return run(whole.output("-", format="null", c="copy", t=0), f"reading {path}")[1].split("Output #0")[0]


def describe_loss(log, done):
    """What of a clip does not reach 8-bit progressive SDR frames, for a person; "" for an ordinary one.

    log: ffmpeg's words of it.  done: what happened to it, "seen" or "coded".
    """
    pixels, tags = re.search(r": Video: .*?, (\w+)(?:\(([^)]*)\))?|$", log).groups("")
    said = []
    if depth := re.search(r"(9|1[0246]|48|64)[bl]e$", pixels):
        bits = {"48": "16", "64": "16"}.get(depth[1], depth[1])  # of three or four samples together
        said.append(f"{bits} bits a sample, {done} in 8")
    if curve := re.search(r"[/:](smpte2084|arib-std-b67)", log):
        said.append(f"HDR ({HDR[curve[1]]}), {done} as if it were SDR")
    elif done == "seen" and "bt2020" in tags:
        said.append("BT.2020 colours, seen as if BT.709")
    if re.search(r"(top|bottom) ", tags):
        said.append(f"interlaced, {done} as progressive")
    return "; ".join(said)


def compare_streams(coded, reference, doing, with_vmaf=True, timeout=CLIP_TIMEOUT):
    """How two streams of 8-bit 4:2:0 frames of one size differ: {"psnr": [luma dB of each frame], "ssim", "vmaf"}.

    PSNR is at most HIGHEST_DB; SSIM and VMAF, of luma, are means, by ffmpeg's filters; VMAF is None where not asked
    for.  Frames are paired by their number.  One frame of each is in memory at a time.
    """
    pairs = [stream.filter("settb", "1/25").filter("setpts", "N").split() for stream in (coded, reference)]
    outputs = []
    with tempfile.NamedTemporaryFile("r") as frames:
        filters = {"psnr": {"stats_file": frames.name}, "ssim": {}, "libvmaf": {"n_threads": threads.CORES}}
        for index, (name, options) in enumerate(filters.items()):
            if name != "libvmaf" or with_vmaf:
                measured = ffmpeg.filter([pair[index] for pair in pairs], name, **options)
                # Checksums nobody needs, but when nobody is there to read them, after a kill, ffmpeg ends.
                outputs.append(measured.output("pipe:", format="null" if index else "framecrc", fps_mode="passthrough"))
        log = run(ffmpeg.merge_outputs(*outputs), doing, timeout=timeout)[1]
        dbs = [min(float(db), HIGHEST_DB) for db in re.findall(r"\bpsnr_y:(\S+)", frames.read())]
    ssim, vmaf = (re.search(rf"{word} ?([\d.]+)", log) for word in ("SSIM Y:", "VMAF score:"))
    if not dbs or not ssim or (with_vmaf and not vmaf):
        raise UserError(f"{doing}: no score came back; is {find_ffmpeg()} FFmpeg?")
    return {"psnr": dbs, "ssim": float(ssim[1]), "vmaf": float(vmaf[1]) if vmaf else None}
