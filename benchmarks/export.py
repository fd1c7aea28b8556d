"""What each exported file costs, and how far its levels are from Keras's: python3 -m benchmarks.export

Seconds of the whole command, size of the file, milliseconds a picture in the format's own runtime, one at a time, and
the largest difference in QP from `predict`, on photographs.  Weights are the golden tests': MJ-REC's levels are in the
thousands.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from benchmarks import matrix
from benchmarks.predict import collected, write_weights


def main():
    """Run the benchmark and print a table, a row for each model, format and precision."""
    from common import cli, flags
    from common.dataset import list_pictures
    from common.formats import FORMATS

    models, style = matrix.models(), {"nargs": "+", "metavar": "X"}
    names = [variant.name for _, variant in models]
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.export", description=__doc__, formatter_class=cli.Help)
    parser.add_argument("--models", **style, choices=names, default=names, help="some of them")
    parser.add_argument("--formats", **style, choices=FORMATS, default=list(FORMATS), help="some of them")
    parser.add_argument("--precisions", **style, choices=("float32", "float16"), default=["float32"], help="or float16")
    parser.add_argument("--photographs", type=Path, help="a folder of photographs; by default the demonstration's")
    parser.add_argument("--seconds", type=flags.positive(float), default=4.0, help="how long each time is taken")
    options = parser.parse_args()
    print("model | format | precision | s | MB | ms a picture | largest difference, QP | largest level, QP", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        pictures = list_pictures(options.photographs or collected(folder / "photographs"))
        for script, variant in models:
            if variant.name not in options.models:
                continue
            write_weights(variant, folder)
            levels = matrix.alone(predicted, variant, folder / "weights.h5", pictures)
            for name, precision in product(options.formats, options.precisions):
                if precision == "float16" and not FORMATS[name].halves:
                    continue
                file = folder / f"exported{FORMATS[name].suffix}"
                seconds, size = export(script, variant, folder / "weights.h5", name, precision, file)
                answers, milliseconds = matrix.alone(ran, variant, name, file, pictures, options.seconds)
                difference = max(abs(a - b) for a, b in zip(levels, answers, strict=True))
                row = [variant.name, name, precision, f"{seconds:.1f}", f"{size:.1f}", f"{milliseconds:.0f}"]
                print(*row, f"{difference:.1g}", f"{max(levels):.0f}", sep=" | ", flush=True)
    return 0


def predicted(variant, file, pictures):
    """All levels of the pictures, in one row, as `predict` gives them."""
    from common import load

    predictor = load(variant, None if variant.joint else 1, file)
    return [level for answer in predictor.batch(pictures) for level in answer.levels.values()]


def export(script, variant, weights, name, precision, file):
    """Seconds that the command takes, and the size of what it writes, in MB."""
    command = [sys.executable, f"{script}.py", "export", "--model_weights_path", str(weights), "--format", name]
    command += ["--precision", precision, "--output", str(file), "--overwrite"]
    if script == "MTJND":
        command += ["--head", variant.name]
    if not variant.joint:
        command += ["--jnd_value", "JND1"]
    started = time.monotonic()
    line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return time.monotonic() - started, float(line.removeprefix(f"{file}: ").split(" MB")[0])


def ran(variant, name, file, pictures, seconds):
    """All levels of the pictures, in one row, as the exported file gives them, and milliseconds a picture."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    from common.formats import FORMATS
    from common.images import read_picture, resize
    from common.programs import silent_stderr

    with silent_stderr():
        run = FORMATS[name].run(file)
        levels, times = [], []
        for path in pictures:
            pixels = resize(read_picture(path), variant.input.width, variant.input.height)[None]
            answers = run(pixels)
            levels += [answers[level].item() for level in sorted(answers)]
        end = time.monotonic() + seconds
        while not times or time.monotonic() < end:
            started = time.monotonic()
            run(pixels)
            times.append(time.monotonic() - started)
    return levels, statistics.median(times) * 1e3


if __name__ == "__main__":
    from common import cli

    cli.run(main)
