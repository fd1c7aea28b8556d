"""How well a GPU or a CPU is used: python3 -m benchmarks.device

Images a second of prediction, and of training steps.  The share of the peak is: operations of convolutions and Dense
layers a second, divided by those of a product of two large matrices in the same precision on the same device.  The
operations are those of direct convolution, so that a faster algorithm may reach more than 1.

Images are noise and come from the memory of the CPU, as in the programs; nothing is decoded.  A step trains all that is
not frozen, and computes the frozen layers too, whose features `train` keeps.  On a GPU, float32 steps use TF32, as in
`train`; predictions do not.  `golden` is the largest relative difference of the levels from those that the released
programs predict with the weights and images of tests/golden.

    python3 -m benchmarks.device --backends jax --precisions float32 bfloat16 --batches 8 32 128 --csv FILE

From the first batch size that does not fit into the memory on, there are no numbers; `problem` says why.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import matrix
from benchmarks.complexity import layer_multiply_accumulates, multiply_accumulates, noise, timings
from benchmarks.inputs import golden_name, write_weights
from common.cli import flags, program
from common.core import device, keras_backend
from common.core.errors import UserError
from common.models.registry import ModelSpec, get_model
from tests.golden import seeded

PREDICTION = ["predicts /s", "of the peak", "peak TFLOP/s"]
TRAINING = ["trains /s", "of its peak", "its peak TFLOP/s"]
COLUMNS = [*PREDICTION, *TRAINING, "golden", "device", "problem"]
LEVEL = "JND1"  # of a model that needs one
PRODUCTS = 10  # before the host waits for them: alone, one on a fast GPU is over too soon


def main() -> int:
    """Run the benchmark and print a table, a row for each model, backend, precision and batch size."""
    parser = matrix.make_parser("device", __doc__)
    add = parser.add_argument
    add("--batches", type=flags.COUNT, nargs="+", default=[8], metavar="N", help="images at once (default: 8)")
    add("--seconds", type=flags.POSITIVE, default=4.0, help="how long each time is taken (default: 4)")
    options = parser.parse_args()
    batches = sorted(set(options.batches))

    def rows(spec, backend, precision):
        settings = (spec.name, backend, precision, batches, options.seconds)
        predicted = matrix.in_new_process(measure_prediction, *settings)
        if backend in keras_backend.PREDICT_ONLY:
            return predicted
        try:
            trained = matrix.in_new_process(measure_training, *settings)
        except UserError as error:  # its process was killed: what predicts stays
            trained = [{"problem": f"training: {error}"}] * len(batches)
        return [{**row, **more} for row, more in zip(predicted, trained)]

    return matrix.matrix_from(options).run(COLUMNS, rows, more_key=["batch"])


def measure_prediction(
    name: str, backend: str, precision: str, batches: Sequence[int], seconds: float
) -> list[dict[str, Any]]:
    """The rows of one model that predicts, measured in this process."""
    keras_backend.use_backend(backend)
    keras_backend.load_keras()
    from common.models.backbones import build_network
    from common.models.inference import image_bytes, load_network

    spec = get_model(name)
    # Not those of the network below: our Winograd layer has fewer, and is no layer that is counted.
    operations = 2 * multiply_accumulates(build_network(spec), spec.levels(LEVEL))
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "weights.h5")
        write_weights(spec, weights)
        network = load_network(spec, weights, spec.levels(LEVEL), precision)
    peak = None if backend in keras_backend.PREDICT_ONLY else product_peak(precision)  # whose ops only build graphs

    def images(batch):
        check_memory(image_bytes(network) * batch)
        return [noise(spec, batch)]

    known = {"golden": golden_difference(spec, network), "device": device.current().name}  # before the memory is full
    found = measure(network.predict_on_batch, images, batches, seconds, operations, peak, PREDICTION)
    return [{"batch": batch, **known, **row} for batch, row in zip(batches, found)]


def measure_training(
    name: str, backend: str, precision: str, batches: Sequence[int], seconds: float
) -> list[dict[str, Any]]:
    """The rows of one model that trains, likewise."""
    keras_backend.use_backend(backend)
    keras_backend.load_keras(training=True, tf32=True)
    from common.training import checks

    spec = get_model(name)
    learner = make_learner(spec, "mixed_bfloat16" if precision == "bfloat16" else precision)

    def images_and_targets(batch):
        check_memory(checks.needed_memory(learner, batch))
        shapes = [(batch, *output.shape[1:]) for output in learner.outputs]
        targets = [np.random.default_rng(1).random(shape, np.float32) for shape in shapes]
        return noise(spec, batch), targets if len(targets) > 1 else targets[0]

    operations, peak = 2 * step_multiply_accumulates(learner), product_peak(precision)
    return measure(learner.train_on_batch, images_and_targets, batches, seconds, operations, peak, TRAINING)


def measure(
    work: Callable,
    arguments: Callable[[int], Sequence],
    batches: Sequence[int],
    seconds: float,
    operations: int,
    peak: float | None,
    columns: Sequence[str],
) -> list[dict[str, Any]]:
    """Time work(*arguments(batch)) for each batch size, up to the first that fails.

    Args:
        operations: That an image takes.
        peak: Operations a second that the device can do; None where that is unknown.
        columns: For images a second, the share of the peak, and the peak.

    Returns:
        A row for each batch size; `problem` is what the first that fails says.
    """
    rows: list[dict[str, Any]] = [{} for _ in batches]
    for batch, row in zip(batches, rows):
        try:
            rate = batch / np.median(timings(seconds, work, *arguments(batch)))
        except Exception as error:  # each backend says in its own way that the memory is full
            row["problem"] = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
            break
        shares = (rate * operations / peak, peak / 1e12) if peak else ()
        row.update({column: float(f"{value:.3g}") for column, value in zip(columns, (rate, *shares))})
    return rows


def check_memory(needed: float) -> None:
    """Raise MemoryError where a CPU has fewer bytes free; a GPU says so itself."""
    from common.training.checks import available_memory

    free = available_memory()
    if device.current().kind == "cpu" and free is not None and needed > free:
        raise MemoryError(f"takes about {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are free")


def make_learner(spec: ModelSpec, precision: str) -> Any:
    """A model as `train` compiles it, from random weights, with all its outputs."""
    import keras

    from common.training.config import TrainingConfig, TrainingFiles
    from common.training.job import Learner, Training
    from common.training.targets import Target

    keras.config.set_dtype_policy(precision)
    settings = {"level": LEVEL, "precision": precision, "learning_rate": 1e-5, "output_bias": "zero"}
    config = TrainingConfig(data_dir="", checkpoint_path="", **settings)
    outputs = spec.at(LEVEL)
    targets = [Target(output, {}) for output in outputs]
    training = Training(spec, config, TrainingFiles.of(spec, config), {}, targets, [])
    model, _ = training.build()
    learner = Learner(model.input, model.outputs)
    learner.set_up(training.optimizer(), outputs)
    return learner


def step_multiply_accumulates(learner: Any) -> int:
    """Multiply-accumulates of a training step for one image, in convolutions and Dense layers.

    As many again as forward for the gradient by the weights of a layer that learns, and by its input if one before it
    learns.
    """
    total, learns_before = 0, False
    for layer in learner.layers:
        learns = bool(layer.trainable_weights)
        total += layer_multiply_accumulates(layer) * (1 + learns + learns_before)
        learns_before |= learns
    return total


def product_peak(precision: str) -> float:
    """Floating-point operations a second of products of large matrices on Keras's device, the fastest of several."""
    import keras

    ops: Any = keras.ops
    side = 8192 if device.current().kind == "gpu" else 2048
    values = np.random.default_rng(0).random((side, side), np.float32) * (2 / side)  # rows sum to 1: no product grows
    a = ops.cast(values, precision)

    def products():
        x = a
        for _ in range(PRODUCTS):
            x = ops.matmul(x, a)
        ops.convert_to_numpy(ops.cast(x[0, 0], "float32"))  # waits for them

    return 2 * side**3 * PRODUCTS / min(timings(0.5, products))


def golden_difference(spec: ModelSpec, network: Any) -> float | None:
    """The largest relative difference of the levels from the released programs'; None for a model that has none."""
    if not (name := golden_name(spec)):
        return None
    predictions = json.loads((seeded.HERE / "golden.json").read_text())[name]["outputs"]
    expected = np.concatenate([output["values"] for output in predictions if "values" in output], axis=1)
    images = seeded.images(*spec.input.shape[:2]).astype("float32") * spec.input.scale
    outputs = network.predict_on_batch(images)
    levels = np.concatenate(outputs if isinstance(outputs, list) else [outputs], axis=1)
    return float(f"{np.max(np.abs(levels / expected - 1)):.1g}")


if __name__ == "__main__":
    program.run(main)
