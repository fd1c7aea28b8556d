"""How well decoding and the network overlap in `predict`: python3 -m benchmarks.throughput --photographs FOLDER

Pictures a second of decoding and resizing alone, of the network alone, and of `predict`, which does both at once; the
last should come near the slower of the two.  Where both need the same cores, no more can be had than their sum allows:
`bound` is what the processor time of the two leaves, against which the last column counts.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

from benchmarks.predict import SCRIPTS, scripts_variants, write_weights


def main():
    """Run the benchmark and print a table, a row for each model, backend and precision."""
    from common import cli, flags

    style = {"nargs": "+", "metavar": "X"}
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.throughput", description=__doc__, formatter_class=cli.Help
    )
    parser.add_argument("--models", **style, default=["LAT"], help="such as LAT MJ-REC")
    parser.add_argument("--backends", **style, default=["tensorflow"], help="tensorflow, jax, torch, openvino")
    parser.add_argument("--precisions", **style, default=["float32"], help="float32, bfloat16")
    parser.add_argument("--photographs", type=Path, required=True, help="a folder of pictures")
    parser.add_argument(
        "--count", type=flags.positive(int), default=300, help="pictures, repeated where there are less"
    )
    options = parser.parse_args()
    variants = [value for name in SCRIPTS for value in scripts_variants(name)]
    print(
        "model | backend | precision | decoding alone /s | network alone /s | both /s | of the slower | of bound | MB"
    )
    for (_, variant), *how in product(variants, options.backends, options.precisions):
        if variant.name in options.models:
            # A process of its own each: memory is that of one model, and a backend cannot be changed.
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                row = pool.submit(measure, variant.name, *how, options.photographs, options.count).result()
            print(variant.name, *how, *row, sep=" | ", flush=True)
    return 0


def measure(name, backend, precision, folder, count):
    """The figures of one model, in this process."""
    from common import load, sources
    from common.predict import predict_files
    from common.predictor import find_variant

    with tempfile.TemporaryDirectory() as weights:
        write_weights(find_variant(name), Path(weights))
        level = None if find_variant(name).joint else 1
        model = load(name, level, Path(weights, "weights.h5"), precision=precision, backend=backend, batch_size=2)
    files = sources.find_inputs([str(folder)])
    paths = [files[number % len(files)] for number in range(count)]

    def looks():
        return sources.looks(paths, model.variant.input, "stretch", "first")

    def work():
        for _ in predict_files(looks(), model):
            pass

    kept = [look for _, look in sources.looks(files[:8], model.variant.input, "stretch", "first") if look]
    list(model.stream(enumerate(kept)))  # compiles
    decoding, its_cores = timed(lambda: [None for _ in looks()])
    network, more_cores = timed(lambda: list(model.stream((n, kept[n % len(kept)]) for n in range(count))))
    both, _ = timed(work)
    bound = max(decoding, network, (its_cores + more_cores) / (os.cpu_count() or 1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    speeds = [f"{count / seconds:.1f}" for seconds in (decoding, network, both)]
    return *speeds, f"{max(decoding, network) / both:.2f}", f"{bound / both:.2f}", peak


def timed(work):
    """(seconds, seconds of processor time) that it takes."""
    wall, cores = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cores


if __name__ == "__main__":
    from common import cli

    cli.run(main)
