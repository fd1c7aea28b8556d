"""What each model costs: python3 -m benchmarks.complexity

Parameters, multiply-accumulates, size of the weight file, milliseconds a picture and peak memory, of the network as
`test` runs it, decoding of pictures not counted.  Weights are random, pictures noise: neither changes the costs.

    python3 -m benchmarks.complexity --backends installed --csv FILE     # all backends here, in both precisions

Time and memory of the whole program, from PNG files to levels, are those of `python3 -m benchmarks.predict`.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import matrix

BATCHES = (1, 8)
COLUMNS = ["parameters", "trainable", "GMAC", "weight file MB"]
COLUMNS += [f"{what} {batch}" for batch in BATCHES for what in ("ms a picture, batch", "peak MB, batch")]


def main():
    """Run the benchmark and print a table, a row for each model, backend and precision."""
    from common.cli import flags

    parser = matrix.parser("complexity", __doc__)
    parser.add_argument("--seconds", type=flags.positive(float), default=4.0, help="how long each time is taken")
    options = parser.parse_args()

    def apart(script, variant, backend, precision):
        return [matrix.alone(measure, variant.name, backend, precision, options.seconds)]

    return matrix.run(options, COLUMNS, apart)


def measure(name, backend, precision, seconds):
    """The row of one model, in this process."""
    os.environ["KERAS_BACKEND"] = backend
    import resource

    import numpy as np

    from common.core import keras_backend

    keras_backend.load_keras()
    from common.models import weight_files
    from common.models.backbones import build_network
    from common.models.inference import for_prediction

    variant = next(variant for _, variant in matrix.models() if variant.name == name)
    model = build_network(variant)
    row = {
        "parameters": model.count_params(),
        "trainable": sum(int(np.prod(weight.shape)) for weight in model.trainable_weights),
        "GMAC": round(multiply_accumulates(model, variant.levels(1)) / 1e9, 1),
        "weight file MB": round(_file_size(model, weight_files) / 1e6, 1),
    }
    network = for_prediction(model, list(variant.levels(1)), precision)
    for batch in BATCHES:
        noise = np.random.default_rng(0).uniform(0, 255 * variant.input.scale, (batch, *variant.input.shape))
        pictures, times = noise.astype("float32"), []
        network.predict_on_batch(pictures)  # compiles
        while len(times) < 3 or sum(times) < seconds:
            started = time.perf_counter()
            network.predict_on_batch(pictures)
            times.append(time.perf_counter() - started)
        row[f"ms a picture, batch {batch}"] = round(1000 * statistics.median(times) / batch, 1)
        row[f"peak MB, batch {batch}"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return row


def multiply_accumulates(model, outputs):
    """How many a picture takes, on the way to the layers named `outputs`; counted in convolutions and Dense layers."""
    import keras
    import numpy as np

    part = keras.Model(model.input, [model.get_layer(name).output for name in outputs])
    total = 0
    for layer in part.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):  # each input pixel spreads over a kernel
            total += np.prod(layer.kernel.shape) * np.prod(layer.input.shape[1:3])
        elif isinstance(layer, keras.layers.Conv2D):
            total += np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:3])
        elif isinstance(layer, keras.layers.Dense):
            total += np.prod(layer.kernel.shape)
    return int(total)


def _file_size(model, weights):
    with tempfile.TemporaryDirectory() as folder:
        weights.save(model, Path(folder) / "weights.h5")
        return (Path(folder) / "weights.h5").stat().st_size


if __name__ == "__main__":
    from common.cli import program

    program.run(main)
