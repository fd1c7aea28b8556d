"""What each exported file costs, and how far its levels are from Keras's: python3 -m benchmarks.export

Seconds of the whole command, size of the file, milliseconds a picture in the format's own runtime, one at a time, and
the largest difference in QP from `predict`, on photographs.  Weights are the golden tests': MJ-REC's levels are in the
thousands.
"""

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks import matrix
from benchmarks.predict import collected, write_weights

COLUMNS = ["s", "MB", "ms a picture", "largest difference, QP", "largest level, QP"]


def main():
    """Run the benchmark and print a table, a row for each model, format and precision."""
    from common.cli import flags
    from common.data.dataset import list_images
    from common.prediction.formats import FORMATS

    parser = matrix.parser("export", __doc__, FORMATS)
    parser.add_argument("--photographs", type=Path, help="a folder of photographs; by default the demonstration's")
    parser.add_argument("--seconds", type=flags.positive(float), default=4.0, help="how long each time is taken")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        pictures = list_images(options.photographs or collected(folder / "photographs"))
        known, weights = {}, folder / "weights.h5"  # levels of each model

        def measure(script, variant, name, precision):
            if precision == "float16" and not FORMATS[name].halves:
                return []
            if variant.name not in known:
                write_weights(variant, folder)
                known[variant.name] = matrix.alone(predicted, variant, weights, pictures)
            levels, file = known[variant.name], folder / f"exported{FORMATS[name].suffix}"
            seconds, size = export(script, variant, weights, name, precision, file)
            answers, milliseconds = matrix.alone(ran, variant, name, file, pictures, options.seconds)
            difference = max(abs(a - b) for a, b in zip(levels, answers, strict=True))
            shown = round(seconds, 1), round(size, 1), round(milliseconds), f"{difference:.1g}", round(max(levels))
            return [dict(zip(COLUMNS, shown))]

        return matrix.run(options, COLUMNS, measure)


def predicted(variant, file, pictures):
    """All levels of the pictures, in one row, as `predict` gives them."""
    from common import load

    predictor = load(variant, 1 if variant.needs_level else None, file)
    return [level for answer in predictor.batch(pictures) for level in answer.levels.values()]


def export(script, variant, weights, name, precision, file):
    """Seconds that the command takes, and the size of what it writes, in MB."""
    flags = {"model_weights_path": weights, "format": name, "precision": precision, "output": file}
    command = [*matrix.command(script, "export", variant, **flags), "--overwrite"]
    started = time.monotonic()
    line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return time.monotonic() - started, float(line.removeprefix(f"{file}: ").split(" MB")[0])


def ran(variant, name, file, pictures, seconds):
    """All levels of the pictures, in one row, as the exported file gives them, and milliseconds a picture."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    from common.core.keras_backend import silent_stderr
    from common.media.images import read_image, resize
    from common.prediction.formats import FORMATS

    with silent_stderr():
        run = FORMATS[name].run(file)
        levels, times = [], []
        for path in pictures:
            pixels = resize(read_image(path), variant.input.width, variant.input.height)[None]
            answers = run(pixels)
            levels += [answers[level].item() for level in sorted(answers)]
        end = time.monotonic() + seconds
        while not times or time.monotonic() < end:
            started = time.monotonic()
            run(pixels)
            times.append(time.monotonic() - started)
    return levels, statistics.median(times) * 1e3


if __name__ == "__main__":
    from common.cli import program

    program.run(main)
