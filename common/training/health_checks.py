"""Whether an epoch of a training is worth anything: finite numbers, outputs that differ between images."""

from typing import Any

import numpy as np

from common.core.errors import UserError
from common.data.levels import median_baseline

FLAT = 1e-4  # QP; outputs that differ by less are the same


def check_finite(network: Any, logs: dict[str, float], epoch: int, kept: str) -> None:
    """Raise UserError where losses or weights are NaN or infinite.  kept: what is left of the training, for people."""
    # A ReLU makes 0 of NaN, so that the loss may look sound when the weights no longer are.
    finite = np.isfinite([logs["loss"], logs["val_loss"]]).all()
    if not (finite and all(np.isfinite(array).all() for array in network.get_weights())):
        losses = f"the loss is {logs['loss']}, on valid {logs['val_loss']}"
        weights = ", but weights are NaN" if finite else ""
        raise UserError(f"epoch {epoch}: {losses}{weights}; {kept}; lower --learning_rate")


def constant_output(network: Any, valid: Any, labels: dict[str, np.ndarray], logs: dict[str, float]) -> str:
    """What is wrong where an output of `network` is the same for all images of valid, for a person; else "".

    Args:
        valid: its Batches.
        labels: {name of the output: labels of valid (N, 1)}.
        logs: the epoch's losses, by Keras's names.
    """
    ranges = {}
    for name, column in labels.items():
        # No constant is better than the median of valid itself: only outputs with a larger error can be constant.
        least = median_baseline(column.ravel(), column.ravel())
        if len(column) > 1 and logs.get(f"val_{name}_loss", logs["val_loss"]) > least - FLAT:
            ranges[name] = np.inf, -np.inf
    for number in range(len(valid)):
        if not ranges:
            return ""
        outputs = network.predict_on_batch(valid[number][0])
        outputs = dict(zip(network.output_names, outputs if isinstance(outputs, list) else [outputs]))
        ranges = {
            name: (min(low, outputs[name].min()), max(high, outputs[name].max()))
            for name, (low, high) in ranges.items()
        }
        ranges = {name: (low, high) for name, (low, high) in ranges.items() if high - low <= FLAT}
    for name, (low, _) in ranges.items():
        return f"{name} is {low:.4g} for every image{', a dead ReLU unit' if low == 0 else ''}"
    return ""
