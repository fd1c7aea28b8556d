"""Where the time of `predict` goes, from the start of the process to its end: python3 -m benchmarks.profile

    python3 -m benchmarks.profile --models LAT MT_3LJND --backends tensorflow onnxruntime --count 32

The rows of a model add up to the wall time of the whole process.  Threads decode and resize images while Keras
starts, and another one computes the network: what is left of that is `waiting`, and beside it stands what the threads
took.  The processor's peak is that of a product of two large float32 matrices, measured before.  Weights are those of
the golden tests.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import matrix
from benchmarks.complexity import multiply_accumulates
from benchmarks.inputs import photographs, write_weights
from benchmarks.profiled import WAITING
from common.cli import flags, program
from common.cli.program import Parser
from common.core.environment import machine
from common.core.keras_backend import load_keras
from common.media.images import read_image, write_png
from common.models.registry import get_model, list_models
from common.prediction.config import BACKENDS


def main() -> int:
    """Run the benchmark and print a table for each model and backend."""
    parser = Parser(prog="python3 -m benchmarks.profile", description=__doc__)
    add = parser.add_argument
    add("--models", nargs="+", metavar="X", choices=list_models(), default=["LAT"], help="such as LAT MJ-REC")
    add("--backends", nargs="+", metavar="X", choices=BACKENDS, default=["tensorflow"], help=", ".join(BACKENDS))
    add("--count", type=flags.COUNT, default=1, help="how many images of 1920x1080")
    add("--kind", choices=("jpg", "png"), default="jpg", help="their kind")
    add("--photographs", type=Path, help="a folder of photographs; by default the demonstration's")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = name
        images = make_images(photographs(options.photographs, folder / "photographs"), folder / "images", options)
        peak = gemm_peak()
        print(f"{machine()}; product of matrices {peak / 1e9:.0f} GFLOP/s; {options.count} {options.kind}, 1920x1080")
        for spec in map(get_model, options.models):
            write_weights(spec, folder / "weights.h5")
            operations = 2 * matrix.in_new_process(count_operations, spec.name)
            for backend in options.backends:
                flags_ = {"model_weights_path": folder / "weights.h5", "backend": backend, "output": folder / "o.csv"}
                command = [*matrix.script_command(spec, "predict", **flags_), "--overwrite", str(images)]
                for _ in range(2):  # the first exports, and reads files that no cache of the system has
                    rows, threads = measure(command, folder / "times.json")
                print(f"\n{spec.name} on {backend}: seconds, share of the wall time")
                wall = sum(rows.values())
                for row, seconds in rows.items():
                    took = ", ".join(f"{part} {seconds:.2f}" for part, seconds in threads.items())
                    beside = f" | {took} in threads" if row == WAITING else ""
                    print(f"{row:>30} | {seconds:7.2f} | {seconds / wall:4.0%}{beside}")
                share = operations * options.count / threads["network"] / peak
                print(f"{'wall time':>30} | {wall:7.2f} |      | the network at {share:.0%} of the peak", flush=True)
    return 0


def make_images(sources: list[Path], folder: Path, options: Any) -> Path:
    """Fill a folder with `options.count` images of 1920x1080, cut and enlarged from photographs."""
    from PIL import Image, ImageOps

    folder.mkdir()
    for number in range(options.count):
        image = ImageOps.fit(Image.fromarray(read_image(sources[number % len(sources)])), (1920, 1080))
        if options.kind == "png":
            write_png(folder / f"{number}.png", np.asarray(image))
        else:
            image.save(folder / f"{number}.jpg", quality=90)
    return folder


def gemm_peak() -> float:
    """Floating-point operations a second of a product of large float32 matrices, the best of several."""
    a, times = np.random.default_rng(0).random((2048, 2048), np.float32), []
    for _ in range(8):
        started = time.perf_counter()
        np.matmul(a, a)
        times.append(time.perf_counter() - started)
    return 2 * 2048**3 / min(times)


def count_operations(name: str) -> int:
    """Multiply-accumulates of an image, counted in a process of its own."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    load_keras()
    backbones, spec = importlib.import_module("common.models.backbones"), get_model(name)
    return multiply_accumulates(backbones.build_network(spec), spec.levels("JND1"))


def measure(command: list[str], file: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Run a command line of a script in `benchmarks.profiled`: ({row: seconds}, {part: seconds in threads})."""
    started = time.time()
    subprocess.run(
        [sys.executable, "-m", "benchmarks.profiled", str(file), *command[1:]], check=True, stdout=subprocess.DEVNULL
    )
    wall = time.time() - started
    rows, threads, begun, ready = json.loads(file.read_text())
    rows = {"start of Python": begun - started, "import of the program": ready - begun, **rows}
    return {**rows, "the rest": wall - sum(rows.values())}, threads


if __name__ == "__main__":
    program.run(main)
