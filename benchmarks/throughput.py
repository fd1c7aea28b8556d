"""How well decoding and the network overlap in `predict`: python3 -m benchmarks.throughput --photographs FOLDER

Images per second: decoding and resizing without the network, the network without decoding, and `predict`, which does
both at once.  The last should come near the slower of the two.  Where both need the same cores, it cannot be faster
than the processor time of the two allows: `of the bound` compares it with that.  `peak MB` is the memory of the process
after a third of the images, and after all of them: it should not grow.  The first line is the memory that reading one
large image takes: Pillow's 4 bytes a pixel and our 3, and what its decoder takes.
"""

import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks import matrix
from benchmarks.inputs import write_weights
from common import load
from common.cli import flags, program
from common.core import threads
from common.core.errors import UserError
from common.media.images import read_image
from common.models.registry import get_model
from common.prediction import inputs
from common.prediction.resize_modes import PreparedImage

COLUMNS = ["decoding alone /s", "network alone /s", "both /s", "of the slower", "of the bound"]
COLUMNS += ["peak MB, a third", "peak MB"]
LARGE = (5000, 8000)


def main() -> int:
    """Run the benchmark and print a table, a row for each model, backend and precision."""
    parser = matrix.make_parser("throughput", __doc__)
    parser.add_argument("--photographs", type=Path, required=True, help="a folder of images")
    count = flags.COUNT
    parser.add_argument("--count", type=count, default=300, help="images, repeated where there are less")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "large.png")
        Image.new("RGB", LARGE).save(image, compress_level=1)
        size = matrix.in_new_process(reading, image)
    print(f"reading a PNG of {LARGE[0]}x{LARGE[1]}: {size} MB, {1e6 * size / math.prod(LARGE):.1f} bytes a pixel")

    def rows(spec, backend, precision):
        settings = (spec.name, backend, precision, options.photographs, options.count)
        return [matrix.in_new_process(measure, *settings)]

    return matrix.matrix_from(options).run(COLUMNS, rows)


def measure(name: str, backend: str, precision: str, folder: Path, count: int) -> dict[str, Any]:
    """The row of one model, measured in this process."""
    from common.prediction.predictor import predict_files

    spec = get_model(name)
    with tempfile.TemporaryDirectory() as weights:
        file = Path(weights, "weights.h5")
        write_weights(spec, file)
        level = 1 if spec.needs_level else None
        predictor = load(name, level, file, precision=precision, backend=backend, batch_size=2)
    files = list(inputs.find_places([str(folder)]))
    paths, peaks = [files[number % len(files)] for number in range(count)], []

    def prepare(paths):
        return inputs.prepare_inputs(enumerate(paths), predictor.spec.input, predictor.config)

    def predict():
        for number, _ in enumerate(predict_files(prepare(paths), predictor), 1):
            if number == max(count // 3, 1):
                peaks.append(peak())
        peaks.append(peak())

    prepared = [image for _, image in prepare(files[:8]) if isinstance(image, PreparedImage)]
    if not prepared:
        raise UserError(f"{folder}: none of the first {len(files[:8])} images can be read; give another --photographs")
    list(predictor.stream(enumerate(prepared)))  # compiles
    images = ((n, prepared[n % len(prepared)]._replace(number=n)) for n in range(count))
    decoding, decoding_cpu = seconds(lambda: list(None for _ in prepare(paths)))
    network, network_cpu = seconds(lambda: list(predictor.stream(images)))
    both, _ = seconds(predict)
    bound = max(decoding, network, (decoding_cpu + network_cpu) / threads.CORES)
    speeds = [round(count / time, 1) for time in (decoding, network, both)]
    shares = [round(time / both, 2) for time in (max(decoding, network), bound)]
    return dict(zip(COLUMNS, [*speeds, *shares, *peaks]))


def reading(image: Path) -> int:
    """The memory in MB that an image takes at most while it is read."""
    before = peak()
    read_image(image)
    return peak() - before


def peak() -> int:
    """The largest memory of this process so far, in MB; getrusage would count what started it too."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """(seconds, seconds of processor time) that it takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    program.run(main)
