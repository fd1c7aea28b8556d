"""Whether an epoch of a training is worth anything: numbers that are numbers, answers that differ."""

import numpy as np

from common.core.errors import UserError
from common.data.levels import median_baseline

FLAT = 1e-4  # answers that differ by less, in QP, are one answer


def numbers(network, logs, epoch, kept):
    """Raise UserError where losses or weights are NaN or infinite.  kept: what is left of the training, for people."""
    # A ReLU makes 0 of NaN, so that the loss may look sound when the weights no longer are.
    sound = np.isfinite([logs["loss"], logs["val_loss"]]).all()
    if not (sound and all(np.isfinite(array).all() for array in network.get_weights())):
        losses = f"the loss is {logs['loss']}, on valid {logs['val_loss']}"
        weights = ", but weights are NaN" if sound else ""
        raise UserError(f"epoch {epoch}: {losses}{weights}; {kept}; lower --learning_rate")


def one_answer(network, valid, levels, logs):
    """What is wrong where an output of `network` gives one answer for all pictures of `valid`, else None.

    valid: Batches.  levels: {name of the output: labels of valid (N, 1)}.  logs: the epoch's, by Keras's names.
    """
    spans = {}
    for name, labels in levels.items():
        # No constant can be better than the median of valid itself: only who is worse needs a look.
        least = median_baseline(labels.ravel(), labels.ravel())
        if len(labels) > 1 and logs.get(f"val_{name}_loss", logs["val_loss"]) > least - FLAT:
            spans[name] = np.inf, -np.inf
    for number in range(len(valid)):
        if not spans:
            return None
        answers = network.predict_on_batch(valid[number][0])
        answers = dict(zip(network.output_names, answers if isinstance(answers, list) else [answers]))
        spans = {
            name: (min(low, answers[name].min()), max(high, answers[name].max())) for name, (low, high) in spans.items()
        }
        spans = {name: (low, high) for name, (low, high) in spans.items() if high - low <= FLAT}
    for name, (low, _) in spans.items():
        return f"{name} answers {low:.4g} for every picture{', a dead ReLU unit' if low == 0 else ''}"
    return None
