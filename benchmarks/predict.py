"""Time and memory of `test` of each model, on 1920x1080 PNGs: python3 -m benchmarks.predict

The set of the released programs' figures: 16 train, 8 valid and 32 test pictures.  With `--pictures 32 320` more test
pictures, which must not take more memory.  Times are those of the whole program, its start included; differences, in
QP, are from the first backend and precision.  Weights are the golden tests': levels differ from picture to picture,
and MJ-REC's are in the thousands.

What a network alone costs is said by `python3 -m benchmarks.complexity`.
"""

import csv
import os
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks import matrix
from common.core.errors import UserError

SIZE = (1920, 1080)
COUNTS = {"train": 16, "valid": 8, "test": 32}
COLUMNS = ["pictures", "wall s", "each run", "peak MB", "largest difference"]


def main():
    """Run the benchmark and print a table, a row for each model, backend, precision and number of pictures."""
    from common.cli import flags

    parser = matrix.parser("predict", __doc__)
    counts = {"nargs": "+", "metavar": "N", "type": flags.positive(int)}
    parser.add_argument("--pictures", **counts, default=[COUNTS["test"]], help="how many to predict")
    parser.add_argument("--photographs", type=Path, help="a folder of photographs; by default the demonstration's")
    parser.add_argument("--repeat", type=flags.positive(int), default=3, help="runs of each; the median counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make_pictures(options.photographs or collected(folder / "photographs"), folder / str(COUNTS["test"]))
        for count in options.pictures:
            repeat_pictures(folder / str(COUNTS["test"]) / "test", folder / str(count) / "test", count)
        first = {}  # levels by number of pictures, of each model

        def measure_all(script, variant, *how):
            if variant.name not in first:
                write_weights(variant, folder)
            levels_by_count, rows = first.setdefault(variant.name, {}), []
            for count in options.pictures:
                seconds, peaks = zip(
                    *sorted(measure(script, variant, folder, count, *how) for _ in range(options.repeat))
                )
                levels = read_levels(folder / "result.csv")
                difference = max(abs(a - b) for a, b in zip(levels, levels_by_count.setdefault(count, levels)))
                shown = (round(seconds[len(seconds) // 2], 1), " ".join(f"{s:.1f}" for s in seconds))
                rows.append(dict(zip(COLUMNS, (count, *shown, round(max(peaks)), f"{difference:.2g}"))))
            return rows

        return matrix.run(options, COLUMNS, measure_all)


def collected(folder):
    """The photographs of the demonstration, copied to `folder`."""
    from common.demo import collect

    collect(folder)
    return folder


def make_pictures(photographs, root):
    """Fill ROOT/train, valid and test with 1920x1080 PNGs cut from photographs."""
    import numpy as np
    from PIL import Image, ImageOps

    from common.data.dataset import list_images
    from common.data.labels import write_labels
    from common.media.images import read_image, write_png

    sources = [Image.fromarray(read_image(path)) for path in list_images(photographs)]
    for split, count in COUNTS.items():
        names = [f"img{number}.png" for number in range(count)]
        for number, name in enumerate(names):
            centre = ((number % 5 + 1) / 6, (number % 3 + 1) / 4)
            frame = ImageOps.fit(sources[number % len(sources)], SIZE, Image.Resampling.BICUBIC, centering=centre)
            write_png(root / split / name, np.asarray(frame))
        write_labels(root / split, names, [(25, 30, 34)] * count)


def repeat_pictures(pictures, folder, count):
    """Fill `folder` with `count` links to the pictures of another, over and over."""
    if folder == pictures:
        return
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"img{number}.png").symlink_to(pictures / f"img{number % COUNTS['test']}.png")


def write_weights(variant, folder):
    """The golden tests' weights, in the released layout."""
    from tests.golden import seeded

    seeded.write_h5(variant.name.replace("-", "").replace("MT_3LJND_VA", "MT_3LJND"), folder / "weights.h5")


def measure(script, variant, folder, count, backend, precision):
    """Seconds and peak resident MB of one run."""
    flags = {"data_dir": folder / str(count), "precision": precision, "model_weights_path": folder / "weights.h5"}
    command = matrix.command(script, "test", variant, result_path=folder / "result.csv", **flags)
    started = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        how = {"stdout": subprocess.DEVNULL, "stderr": errors, "env": {**os.environ, "KERAS_BACKEND": backend}}
        process = subprocess.Popen(command, **how)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        said = errors.read().decode(errors="replace").split("\n")
    if process.returncode:
        last = next((line.strip() for line in reversed(said) if line.strip()), "without a word")
        raise UserError(f"exit code {process.returncode}: {last.removeprefix('error: ')}")
    return time.monotonic() - started, usage.ru_maxrss / 1024


def read_levels(path):
    """All predicted levels of a result file, in one row."""
    with open(path, newline="") as file:
        rows = csv.DictReader(file)
        return [float(row[name]) for row in rows for name in row if name in ("JND1", "JND2", "JND3")]


if __name__ == "__main__":
    from common.cli import program

    program.run(main)
