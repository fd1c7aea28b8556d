"""What is checked of a training: before it starts, whether it fits into memory and onto the disk; after each epoch,
whether its numbers are finite and its outputs differ between images."""

from pathlib import Path
from typing import Any

import numpy as np

from common.core.errors import UserError
from common.core.files import check_disk_space
from common.data.levels import median_baseline
from common.training import devices, features
from common.training.config import TrainingConfig

FLAT = 1e-4  # QP; outputs that differ by less are the same
COPIES = 2.2  # of each layer's output, held for the backward pass with gradients: measured 1.5 to 2.3 on the REC models
BASE = 1.2e9  # bytes, TensorFlow itself


def needed_memory(network: Any, batch_size: int) -> float:
    """About how many bytes a training step of `network` takes at `batch_size`."""
    frozen = features.frozen_layers(network)
    held = sum(np.prod(layer.output.shape[1:]) for layer in network.layers if layer not in frozen)
    learned = sum(np.prod(weight.shape) for weight in network.trainable_weights)
    return BASE + 4 * (batch_size * held * COPIES + 4 * learned)


def available_memory() -> int | None:
    """Bytes of memory that are free on this machine and allowed to this process; None where the system does not say."""
    limits = []
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        limits.append(int(lines["MemAvailable"].split()[0]) * 1024)
        group = Path("/sys/fs/cgroup")
        limits.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, KeyError, ValueError):
        pass
    return min(limits, default=None)


def check_memory(name: str, network: Any, config: TrainingConfig) -> None:
    """Raise UserError where a training of `network` on the CPU would not fit, with the --accumulate that would fit."""
    free = available_memory()
    if free is None or not devices.visible()[0].startswith("cpu"):
        return  # a GPU refuses by itself
    size, steps = config.batch_size, config.accumulate
    if (need := needed_memory(network, size)) <= free:
        return
    text = f"{name} takes about {need / 1e9:.0f} GB at --batch_size {size}, {free / 1e9:.0f} GB are free"
    fitting = [part for part in range(1, size) if size % part == 0 and needed_memory(network, part) <= free]
    if not fitting:
        raise UserError(f"{text}; one image at a time takes {needed_memory(network, 1) / 1e9:.0f} GB")
    part = fitting[-1]
    need = needed_memory(network, part)
    raise UserError(
        f"{text}; --batch_size {part} --accumulate {size * steps // part} takes {need / 1e9:.0f} GB and learns from as "
        "many images a step"
    )


def check_disk(written: dict[Path, list]) -> None:
    """Raise UserError where the disk has no room for what a training writes again and again.

    written: {file: the variables in it}, all in one folder.  A new file lies beside the old one until it is whole.
    """
    sizes = [sum(4 * int(np.prod(variable.shape)) for variable in variables) for variables in written.values()]
    there = sum(file.stat().st_size for file in written if file.exists())
    size = sum(sizes) + max(sizes) + 1_000_000 - there  # and a little for the log, the record and the curves
    what = "the best weights and the state for --resume take"
    check_disk_space(next(iter(written)).parent, size, what, "give another --checkpoint_path")


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
