"""What each exported file costs, and how far its levels are from Keras's: python3 -m benchmarks.export

Seconds of the whole command, size of the file, milliseconds per image in the format's own runtime, one image at a time,
and the largest difference in QP from `predict`, on photographs.  Weights are those of the golden tests, with which
MJ-REC's levels are in the thousands.
"""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import matrix
from benchmarks.inputs import photographs, write_weights
from common import load
from common.cli import flags, program
from common.core.keras_backend import load_keras, silent_stderr
from common.media.images import read_image, resize
from common.models.exported import FORMATS
from common.models.registry import ModelSpec, get_model

COLUMNS = ["s", "MB", "ms a picture", "largest difference, QP", "largest level, QP"]


def main() -> int:
    """Run the benchmark and print a table, a row for each model, format and precision."""
    parser = matrix.make_parser("export", __doc__, list(FORMATS))
    parser.add_argument("--photographs", type=Path, help="a folder of photographs; by default the demonstration's")
    parser.add_argument("--seconds", type=flags.POSITIVE, default=4.0, help="how long each time is taken")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, predicted = Path(name), {}  # the levels of each model
        images, weights = photographs(options.photographs, folder / "photographs"), folder / "weights.h5"

        def rows(spec, format_name, precision):
            if precision == "float16" and not FORMATS[format_name].float16:
                return []
            if spec.name not in predicted:
                write_weights(spec, weights)
                predicted[spec.name] = matrix.in_new_process(predict, spec.name, weights, images)
            file = folder / f"exported{FORMATS[format_name].suffix}"
            seconds, size = export(spec, weights, format_name, precision, file)
            levels, milliseconds = matrix.in_new_process(
                run_exported, spec.name, format_name, file, images, options.seconds
            )
            difference = max(abs(a - b) for a, b in zip(predicted[spec.name], levels, strict=True))
            largest = round(max(predicted[spec.name]))
            cells = (round(seconds, 1), round(size, 1), round(milliseconds), f"{difference:.1g}", largest)
            return [dict(zip(COLUMNS, cells))]

        return matrix.matrix_from(options).run(COLUMNS, rows)


def predict(name: str, file: Path, images: Sequence[Path]) -> list[float]:
    """All levels of the images, in one list, as `predict` gives them."""
    predictor = load(name, 1 if get_model(name).needs_level else None, file)
    return [level for prediction in predictor.batch(images) for level in prediction.levels.values()]


def export(spec: ModelSpec, weights: Path, format_name: str, precision: str, file: Path) -> tuple[float, float]:
    """Seconds that the command takes, and the size in MB of the file that it writes."""
    settings = {"model_weights_path": weights, "format": format_name, "precision": precision, "output": file}
    command = [*matrix.script_command(spec, "export", **settings), "--overwrite"]
    started = time.monotonic()
    line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return time.monotonic() - started, float(line.removeprefix(f"{file}: ").split(" MB")[0])


def run_exported(
    name: str, format_name: str, file: Path, images: Sequence[Path], seconds: float
) -> tuple[list[float], float]:
    """All levels of the images, in one list, as the exported file gives them, and milliseconds per image."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    input_format = get_model(name).input
    levels, times = [], []
    load_keras(training=True)
    from common.prediction.converters import RUNNERS

    with silent_stderr():
        run = RUNNERS[format_name](file)
        for path in images:
            pixels = resize(read_image(path), input_format.width, input_format.height)[None]
            outputs = run(pixels)
            levels += [outputs[level].item() for level in sorted(outputs)]
        end = time.monotonic() + seconds
        while not times or time.monotonic() < end:
            started = time.monotonic()
            run(pixels)
            times.append(time.monotonic() - started)
    return levels, statistics.median(times) * 1e3


if __name__ == "__main__":
    program.run(main)
