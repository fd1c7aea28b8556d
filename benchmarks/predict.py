"""Time and memory of `test` of each model, on 1920x1080 PNGs: python3 -m benchmarks.predict

The set of the released programs' figures: 16 train, 8 valid and 32 test images.  `--pictures 32 320` adds a run on more
test images, which must not take more memory.  Times are those of the whole program with its start; differences, in QP,
are from the first backend and precision.  Weights are those of the golden tests: levels differ from image to image, and
MJ-REC's are in the thousands.

`python3 -m benchmarks.complexity` measures a network without the program.
"""

import csv
import os
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks import matrix
from benchmarks.inputs import COUNTS, make_rootdir, photographs, write_weights
from common.cli import flags, program
from common.core.errors import UserError
from common.models.registry import ModelSpec

COLUMNS = ["pictures", "wall s", "each run", "peak MB", "largest difference"]


def main() -> int:
    """Run the benchmark and print a table, a row for each model, backend, precision and number of images."""
    parser = matrix.make_parser("predict", __doc__)
    count = flags.COUNT
    several = {"nargs": "+", "metavar": "N", "type": count}
    parser.add_argument("--pictures", **several, default=[COUNTS["test"]], help="how many to predict")
    parser.add_argument("--photographs", type=Path, help="a folder of photographs; by default the demonstration's")
    parser.add_argument("--repeat", type=count, default=3, help="runs of each; the median counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, first = Path(name), {}  # first: levels of each model and number of images
        original = folder / str(COUNTS["test"])
        make_rootdir(photographs(options.photographs, folder / "photographs"), original)
        for number in options.pictures:
            link_images(original / "test", folder / str(number) / "test", number)

        def rows(spec, backend, precision):
            write_weights(spec, folder / "weights.h5")
            return [row(spec, backend, precision, number) for number in options.pictures]

        def row(spec, backend, precision, number):
            runs = sorted(measure(spec, folder, number, backend, precision) for _ in range(options.repeat))
            seconds, peaks = zip(*runs)
            levels = read_levels(folder / "result.csv")
            difference = max(abs(a - b) for a, b in zip(levels, first.setdefault((spec.name, number), levels)))
            each = " ".join(f"{value:.1f}" for value in seconds)
            cells = (number, round(seconds[len(seconds) // 2], 1), each, round(max(peaks)), f"{difference:.2g}")
            return dict(zip(COLUMNS, cells))

        return matrix.matrix_from(options).run(COLUMNS, rows)


def link_images(images: Path, folder: Path, count: int) -> None:
    """Fill `folder` with `count` links to the images of another, over and over."""
    if folder == images:
        return
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"img{number}.png").symlink_to(images / f"img{number % COUNTS['test']}.png")


def measure(spec: ModelSpec, folder: Path, count: int, backend: str, precision: str) -> tuple[float, float]:
    """Seconds and peak resident MB of one run."""
    settings = {"data_dir": folder / str(count), "precision": precision, "model_weights_path": folder / "weights.h5"}
    command = matrix.script_command(spec, "test", result_path=folder / "result.csv", **settings)
    environment = {**os.environ, "KERAS_BACKEND": backend}
    started = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        lines = errors.read().decode(errors="replace").split("\n")
    if process.returncode:
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
        raise UserError(f"exit code {process.returncode}: {last.removeprefix('error: ')}")
    return time.monotonic() - started, usage.ru_maxrss / 1024


def read_levels(path: Path) -> list[float]:
    """All predicted levels of a result file, in one list."""
    with open(path, newline="") as file:
        rows = csv.DictReader(file)
        return [float(row[name]) for row in rows for name in row if name in ("JND1", "JND2", "JND3")]


if __name__ == "__main__":
    program.run(main)
