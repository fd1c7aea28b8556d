"""How well decoding and the network overlap in `predict`: python3 -m benchmarks.throughput --photographs FOLDER

Pictures a second of decoding and resizing alone, of the network alone, and of `predict`, which does both at once; the
last should come near the slower of the two.  Where both need the same cores, no more can be had than their sum allows:
`of the bound` counts against what the processor time of the two leaves.  `peak MB` is the process's memory after a
third of the pictures, and after all of them: it should not grow.
"""

import os
import resource
import tempfile
import time
from pathlib import Path

from benchmarks import matrix
from benchmarks.predict import write_weights

COLUMNS = [
    "decoding alone /s",
    "network alone /s",
    "both /s",
    "of the slower",
    "of the bound",
    "peak MB, a third",
    "peak MB",
]


def main():
    """Run the benchmark and print a table, a row for each model, backend and precision."""
    from common.cli import flags

    parser = matrix.parser("throughput", __doc__)
    parser.add_argument("--photographs", type=Path, required=True, help="a folder of pictures")
    parser.add_argument(
        "--count", type=flags.positive(int), default=300, help="pictures, repeated where there are less"
    )
    options = parser.parse_args()

    def apart(script, variant, backend, precision):
        return [matrix.alone(measure, variant.name, backend, precision, options.photographs, options.count)]

    return matrix.run(options, COLUMNS, apart)


def measure(name, backend, precision, folder, count):
    """The row of one model, in this process."""
    from common import load
    from common.models.registry import get_model
    from common.prediction import inputs
    from common.prediction.predictor import predict_files

    with tempfile.TemporaryDirectory() as weights:
        write_weights(get_model(name), Path(weights))
        level = 1 if get_model(name).needs_level else None
        model = load(name, level, Path(weights, "weights.h5"), precision=precision, backend=backend, batch_size=2)
    files = inputs.find_inputs([str(folder)])
    paths = [files[number % len(files)] for number in range(count)]

    def looks():
        return inputs.prepare_inputs(enumerate(paths), model.variant.input, "stretch", "first")

    early = []

    def work():
        for number, _ in enumerate(predict_files(looks(), model), 1):
            if number == max(count // 3, 1):
                early.append(peak())

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

    kept = [
        look for _, look in inputs.prepare_inputs(enumerate(files[:8]), model.variant.input, "stretch", "first") if look
    ]
    list(model.stream(enumerate(kept)))  # compiles
    decoding, its_cores = timed(lambda: [None for _ in looks()])
    network, more_cores = timed(
        lambda: list(model.stream((n, kept[n % len(kept)]._replace(number=n)) for n in range(count)))
    )
    both, _ = timed(work)
    bound = max(decoding, network, (its_cores + more_cores) / (os.cpu_count() or 1))
    speeds = [round(count / seconds, 1) for seconds in (decoding, network, both)]
    shares = [round(seconds / both, 2) for seconds in (max(decoding, network), bound)]
    return dict(zip(COLUMNS, [*speeds, *shares, *early, peak()]))


def timed(work):
    """(seconds, seconds of processor time) that it takes."""
    wall, cores = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cores


if __name__ == "__main__":
    from common.cli import program

    program.run(main)
