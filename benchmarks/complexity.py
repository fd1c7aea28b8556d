"""What each model costs: python3 -m benchmarks.complexity

Parameters, multiply-accumulates, size of the weight file, milliseconds per image and peak memory, of the network as
`test` runs it, without the decoding of images.  Weights are random and images are noise: neither changes the costs.

    python3 -m benchmarks.complexity --backends installed --csv FILE     # all backends here, in both precisions

`python3 -m benchmarks.predict` measures time and memory of the whole program, from PNG files to levels.
"""

import math
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import matrix
from common.cli import flags, program
from common.core import keras_backend
from common.models.registry import ModelSpec, get_model

if TYPE_CHECKING:
    import keras

BATCHES = (1, 8)
COLUMNS = ["parameters", "trainable", "GMAC", "weight file MB"]
COLUMNS += [f"{quantity} {batch}" for batch in BATCHES for quantity in ("ms a picture, batch", "peak MB, batch")]


def main() -> int:
    """Run the benchmark and print a table, a row for each model, backend and precision."""
    parser = matrix.make_parser("complexity", __doc__)
    parser.add_argument("--seconds", type=flags.POSITIVE, default=4.0, help="how long each time is taken")
    options = parser.parse_args()

    def rows(spec, backend, precision):
        return [matrix.in_new_process(measure, spec.name, backend, precision, options.seconds)]

    return matrix.matrix_from(options).run(COLUMNS, rows)


def measure(name: str, backend: str, precision: str, seconds: float) -> dict[str, Any]:
    """The row of one model, measured in this process."""
    keras_backend.use_backend(backend)
    keras_backend.load_keras()
    from common.models.backbones import build_network
    from common.models.inference import for_prediction

    spec = get_model(name)
    model = build_network(spec)
    row = {
        "parameters": model.count_params(),
        "trainable": sum(map(_size, model.trainable_weights)),
        "GMAC": round(multiply_accumulates(model, spec.levels("JND1")) / 1e9, 1),
        "weight file MB": round(file_size(model) / 1e6, 1),
    }
    network = for_prediction(model, list(spec.levels("JND1")), precision)
    for batch in BATCHES:
        images = noise(spec, batch)
        taken = statistics.median(timings(seconds, network.predict_on_batch, images))
        row[f"ms a picture, batch {batch}"] = round(1000 * taken / batch, 1)
        row[f"peak MB, batch {batch}"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return row


def multiply_accumulates(model: "keras.Model", outputs: Iterable[str]) -> int:
    """How many an image takes on the way to the layers named `outputs`, counted in convolutions and Dense layers."""
    import keras

    part = keras.Model(model.input, [model.get_layer(name).output for name in outputs])
    return sum(map(layer_multiply_accumulates, part.layers))


def layer_multiply_accumulates(layer: Any) -> int:
    """How many an image takes in a layer: a convolution, a Dense layer, or another one, which has none."""
    import keras

    if isinstance(layer, keras.layers.Conv2DTranspose):  # each input pixel spreads over a kernel
        return _size(layer.kernel) * _size(layer.input, slice(1, 3))
    if isinstance(layer, keras.layers.Conv2D):
        return _size(layer.kernel) * _size(layer.output, slice(1, 3))
    return _size(layer.kernel) if isinstance(layer, keras.layers.Dense) else 0


def timings(seconds: float, work: Callable, *arguments: Any) -> list[float]:
    """The seconds that each of at least three runs of work(*arguments) takes, after one that compiles.

    seconds: How long they take together, at least.
    """
    times: list[float] = []
    work(*arguments)
    while len(times) < 3 or sum(times) < seconds:
        started = time.perf_counter()
        work(*arguments)
        times.append(time.perf_counter() - started)
    return times


def noise(spec: ModelSpec, batch: int) -> np.ndarray:
    """Images (batch, H, W, 3) of noise, as the networks of a model see them."""
    return np.random.default_rng(0).random((batch, *spec.input.shape), np.float32) * np.float32(255 * spec.input.scale)


def _size(tensor: Any, axes: slice = slice(None)) -> int:
    """How many numbers a tensor has, along these of its axes."""
    return math.prod(tensor.shape[axes])


def file_size(model: "keras.Model") -> int:
    """The bytes of the model's weight file."""
    from common.models import weight_files

    with tempfile.TemporaryDirectory() as folder:
        weight_files.save(model, Path(folder) / "weights.h5")
        return (Path(folder) / "weights.h5").stat().st_size


if __name__ == "__main__":
    program.run(main)
