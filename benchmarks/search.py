"""A level by a network beside a search by VMAF: python3 -m benchmarks.search CLIPS/ --model_weights_path W

Ours is what `predict --encode` does: a QP for each scene, from the first frame of each scene and second.  The search
codes the whole clip at one QP after another, interpolating, and measures VMAF, until the mean is just above the target:
the method of ab-av1's crf-search (its rule, its first and last settings 10 and 46, whole QPs; it takes samples of 20 s
of longer clips than those).  Both code in H.264 as VideoSet did.

`decide s` is the time until the QPs are known, of a network that is loaded; `CPU s`, the processor time of that, is
less sensitive to what else the machine does.  Ours has then to encode once, the search has done so.  They take turns,
the other one first from clip to clip.  VMAF is of whole clips, not scaled; worst: of the scene with the lowest mean.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import ffmpeg
import numpy as np
import pandas as pd

from common import load
from common.cli import flags, program
from common.core.threads import CORES
from common.data.pseudolabels import THRESHOLDS
from common.encoding.encode import encode_clip
from common.encoding.job import scene_qps
from common.encoding.scenes import ClipInfo, analyse_clip
from common.evaluation.report import Table, markdown
from common.media.clips import extract_frames
from common.media.ffmpeg import CLIP_TIMEOUT, clip_input, x264_output
from common.media.ffmpeg_process import run
from common.models.registry import LEVELS
from common.prediction.inputs import find_places
from common.prediction.predictor import Predictor

LOWEST, HIGHEST = 10, 46  # ab-av1's --min-crf and --max-crf for x264
FRAMES = "scenes+1s"  # as `predict`


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table, a row for each clip and method; return the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.search", description=__doc__)
    add = parser.add_argument
    add("clips", nargs="+", metavar="CLIPS", help="clips, or folders of clips")
    add("--model_weights_path", type=Path, required=True, metavar="W", help="the weight file, or a folder of it")
    add("--model", default="LAT", help="which model predicts (default: %(default)s)")
    add("--jnd_value", choices=LEVELS, default="JND1", help="which level (default: %(default)s)")
    text = f"the search's target; by default that of the pseudo-labels of the level, {THRESHOLDS}"
    add("--vmaf", type=flags.POSITIVE, help=text)
    options = parser.parse_args(arguments)
    target = options.vmaf or THRESHOLDS[LEVELS.index(options.jnd_value)]
    started, rows = time.perf_counter(), []
    predictor = load(options.model, options.jnd_value, options.model_weights_path)
    predictor(np.zeros((360, 640, 3), np.uint8))
    loaded = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        methods = {
            "ours": lambda clip: ours(predictor, clip, Path(folder, "ours.mp4")),
            "search": lambda clip: search(clip, target, Path(folder, "search.264")),
        }
        for number, path in enumerate(find_places(options.clips)):
            clip, load_before = analyse_clip(path), os.getloadavg()[0]
            of_clip = {name: methods[name](clip) for name in sorted(methods, reverse=number % 2 == 1)}
            height, width = clip.format.size
            shown = f"{path.stem}, {clip.seconds:.0f} s {width}x{height}"
            for name in methods:
                rows.append({"clip": shown, "method": name, **of_clip[name], "load": round(load_before, 1)})
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    print(*markdown(Table("", list(table), table.astype(str).to_numpy().tolist())), sep="\n")
    for name, part in table.groupby("method"):
        sums = ", ".join(f"{part[column].sum():.0f} {column}" for column in ("decide s", "CPU s", "encodes", "kB"))
        off = part["VMAF"].sub(target).abs()
        print(
            f"{name}: {sums}; VMAF {part['VMAF'].mean():.1f}, {off.mean():.1f} from {target:g}, at most {off.max():.1f}"
        )
    print(f"{predictor!r}; loaded in {loaded:.1f} s; target VMAF {target:g}; {CORES} cores")
    return 0


def ours(predictor: Predictor, clip: ClipInfo, file: Path) -> dict:
    """Predict the QPs of a clip and encode it, each scene at its own."""
    started = _clock()
    level = predictor.levels[0]
    qps = {number: predictor(image).levels[level] for number, _, image in extract_frames(clip.path, FRAMES)}
    seconds = _clock() - started
    row = encode_clip(clip, scene_qps(clip.scenes, qps), file, "h264")
    encoded = [scene["qp"] for scene in row["scenes"]]
    shown = f"{min(encoded)}" if min(encoded) == max(encoded) else f"{min(encoded)} to {max(encoded)}"
    return _row(shown, 0, seconds, vmaf_of_frames(clip, file), clip, row["bytes"])


def search(clip: ClipInfo, target: float, folder: Path) -> dict:
    """Search the QP of a clip."""
    frames = {}

    def score(qp: int) -> float:
        file = folder.with_name(f"{qp}{folder.suffix}")
        graph = x264_output(clip.frames(), file, qp, format="h264", fps_mode="passthrough")
        run(graph, f"encoding {clip.path} at QP {qp}", timeout=CLIP_TIMEOUT, target=file)
        frames[qp] = vmaf_of_frames(clip, file), file.stat().st_size
        return float(frames[qp][0].mean())

    started = _clock()
    qp = search_qp(score, target)
    seconds = _clock() - started
    scores, size = frames[qp]
    return _row(f"{qp}", len(frames), seconds, scores, clip, size)


def search_qp(score: Callable[[int], float], target: float) -> int:
    """Return the QP that ab-av1's interpolated binary search finds: the highest whose score it saw above `target`.

    It ends early where a score is at most 0.1, 0.2, 0.4 ... above it, at the first, second, third ... try.  Where no QP
    is good enough, which ab-av1 calls a failure, it is the lowest.
    """
    scores: dict[int, float] = {}
    qp = (LOWEST + HIGHEST) // 2
    while qp not in scores:
        scores[qp] = value = score(qp)
        good = value > target
        if good and value < target + 0.1 * 2 ** (len(scores) - 1):
            break
        below = max((other for other in scores if scores[other] > target), default=None)
        above = min((other for other in scores if scores[other] <= target and other > (below or 0)), default=None)
        if below is not None and above is not None:
            share = (scores[below] - target) / (scores[below] - scores[above])
            qp = min(max(round(below + (above - below) * share), below + 1), above - 1)
            if above - below == 1:
                return below
        else:
            end = HIGHEST if good else LOWEST
            qp = (qp + end) // 2 if len(scores) == 1 else end
    return qp


def vmaf_of_frames(clip: ClipInfo, file: Path) -> np.ndarray:
    """Return the VMAF of each frame of an encoded clip."""
    with tempfile.NamedTemporaryFile("r", suffix=".csv") as log:
        streams = [s.filter("settb", "1/25").filter("setpts", "N") for s in (clip_input(file), clip.frames())]
        measured = ffmpeg.filter(streams, "libvmaf", n_threads=CORES, log_fmt="csv", log_path=log.name)
        run(measured.output("pipe:", format="null", fps_mode="passthrough"), f"measuring {file}", timeout=CLIP_TIMEOUT)
        return pd.read_csv(log.name)["vmaf"].to_numpy()


def _clock() -> np.ndarray:
    """Return the time, and the processor time of this process and those it has started, in seconds."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return np.array([time.perf_counter(), sum(usage.ru_utime + usage.ru_stime for usage in usages)])


def _row(qps, encodes, seconds, scores, clip, size):
    scenes = [scores[first : last + 1].mean() for first, last in clip.scenes]
    return {
        "QP": qps,
        "scenes": len(scenes),
        "decide s": round(float(seconds[0]), 1),
        "CPU s": round(float(seconds[1]), 1),
        "encodes": encodes,
        "VMAF": round(float(scores.mean()), 1),
        "worst": round(float(min(scenes)), 1),
        "kB": round(size / 1000),
    }


if __name__ == "__main__":
    program.run(main)
