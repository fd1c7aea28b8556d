"""How well a GPU or a CPU is used: python3 -m benchmarks.device

Images a second of prediction and of training steps, and which share of the device's peak that is: counted operations of
convolutions and Dense layers, beside the product of two large matrices in the same precision on the same device.  A
step trains all that is not frozen, without the feature cache.  Images are noise and come from the memory of the CPU, as
in the programs; nothing is decoded.  `golden` is the largest relative difference of the levels from those of the
released programs.

    python3 -m benchmarks.device --backends jax --precisions float32 bfloat16 --batches 8 32 128 --csv FILE

A batch size that does not fit into memory, and larger ones, have no number.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import matrix
from benchmarks.complexity import layer_multiply_accumulates, median_seconds, multiply_accumulates, noise
from benchmarks.inputs import write_weights
from common.cli import flags, program
from common.core import device, keras_backend
from common.models.registry import ModelSpec, get_model
from tests.golden import seeded

COLUMNS = ["batch", "predicts /s", "of the peak", "trains /s", "of the peak, training", "peak TFLOP/s", "golden"]
LEVEL = "JND1"  # of a model that needs one


def main() -> int:
    """Run the benchmark and print a table, a row for each model, backend, precision and batch size."""
    parser = matrix.make_parser("device", __doc__)
    add = parser.add_argument
    add("--batches", type=flags.COUNT, nargs="+", default=[8], metavar="N", help="images at once (default: 8)")
    add("--seconds", type=flags.POSITIVE, default=4.0, help="how long each time is taken (default: 4)")
    options = parser.parse_args()
    batches = sorted(set(options.batches))

    def rows(spec, backend, precision):
        return matrix.in_new_process(measure, spec.name, backend, precision, batches, options.seconds)

    return matrix.matrix_from(options).run(COLUMNS, rows)


def measure(name: str, backend: str, precision: str, batches: Sequence[int], seconds: float) -> list[dict[str, Any]]:
    """The rows of one model, measured in this process."""
    keras_backend.use_backend(backend)
    keras_backend.load_keras()
    from common.models.inference import load_network

    spec = get_model(name)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "weights.h5")
        write_weights(spec, weights)
        network = load_network(spec, weights, spec.levels(LEVEL), precision)
    golden = golden_difference(spec, network)
    operations, peak = 2 * multiply_accumulates(network, spec.levels(LEVEL)), product_peak(precision)
    rows = [{"batch": batch, "peak TFLOP/s": round(peak / 1e12, 3), "golden": f"{golden:.1g}"} for batch in batches]
    for row, rate in zip(rows, rates(network.predict_on_batch, lambda batch: (noise(spec, batch),), batches, seconds)):
        row.update({"predicts /s": float(f"{rate:.3g}"), "of the peak": round(rate * operations / peak, 2)})
    if backend in keras_backend.PREDICT_ONLY:
        return rows
    keras_backend.allow_tf32(True)  # as `train` does
    learner = make_learner(spec, "mixed_bfloat16" if precision == "bfloat16" else precision)
    operations, peak = 2 * step_multiply_accumulates(learner), product_peak(precision)

    def step(batch):
        shapes = [(batch, *output.shape[1:]) for output in learner.outputs]
        targets = [np.random.default_rng(1).random(shape, np.float32) for shape in shapes]
        return noise(spec, batch), targets if len(targets) > 1 else targets[0]

    fitting = [batch for batch in batches if fits(learner, batch)]
    for row, rate in zip(rows, rates(learner.train_on_batch, step, fitting, seconds)):
        row.update({"trains /s": float(f"{rate:.3g}"), "of the peak, training": round(rate * operations / peak, 2)})
    return rows


def rates(work: Callable, inputs: Callable[[int], tuple], batches: Sequence[int], seconds: float) -> list[float]:
    """Images a second of work(*inputs(batch)) for each batch size, up to the first that the memory has no room for."""
    found: list[float] = []
    for batch in batches:
        try:
            found.append(batch / median_seconds(seconds, work, *inputs(batch)))
        except Exception as error:
            if not device.is_out_of_memory(error):
                raise
            break
    return found


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
    """How many an image takes in a training step, counted in convolutions and Dense layers.

    As many again as forward for the gradient by the weights of a layer that learns, and by its input if one before it
    learns.
    """
    total, learns_before = 0, False
    for layer in learner.layers:
        learns = bool(layer.trainable_weights)
        total += layer_multiply_accumulates(layer) * (1 + learns + learns_before)
        learns_before |= learns
    return total


def fits(learner: Any, batch: int) -> bool:
    """Whether a training step on a CPU fits into its memory; a GPU says so itself."""
    from common.training import checks

    free = checks.available_memory()
    on_gpu = device.current().kind == "gpu"
    return on_gpu or free is None or checks.needed_memory(learner, batch) < free


def product_peak(precision: str) -> float:
    """Floating-point operations a second of a product of large matrices on Keras's device."""
    import keras

    side = 8192 if device.current().kind == "gpu" else 2048
    ops: Any = keras.ops
    a = ops.cast(np.random.default_rng(0).random((side, side), np.float32), precision)

    def product():
        ops.convert_to_numpy(ops.cast(ops.matmul(a, a)[0, 0], "float32"))  # waits for it

    return 2 * side**3 / median_seconds(0.5, product)


def golden_difference(spec: ModelSpec, network: Any) -> float:
    """The largest relative difference of the levels from the released programs'; NaN for a model that has none."""
    predictions = json.loads((seeded.HERE / "golden.json").read_text())
    name = spec.name.replace("-", "").replace("MT_3LJND_VA", "MT_3LJND")
    if name not in predictions:
        return float("nan")
    images = seeded.images(*spec.input.shape[:2]).astype("float32") * spec.input.scale
    outputs = network.predict_on_batch(images)
    expected = [output["values"] for output in predictions[name]["outputs"] if "values" in output]
    outputs = np.concatenate(outputs if isinstance(outputs, list) else [outputs], axis=1)
    return float(np.max(np.abs(outputs / np.concatenate(expected, axis=1) - 1)))


if __name__ == "__main__":
    program.run(main)
