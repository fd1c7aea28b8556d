"""Whether a training fits into the machine's memory and on its disk, said before it starts and not in the middle."""

from pathlib import Path
from typing import Any

import numpy as np

from common.core.errors import UserError
from common.core.files import check_disk_space
from common.training import devices, features
from common.training.config import TrainingConfig

COPIES = 2.2  # of each layer's output, held for the backward pass with gradients: measured 1.5 to 2.3 on the REC models
BASE = 1.2e9  # bytes, TensorFlow itself


def needed(network: Any, batch_size: int) -> float:
    """About how many bytes a training step of `network` takes at `batch_size`."""
    frozen = features.frozen_layers(network)
    held = sum(np.prod(layer.output.shape[1:]) for layer in network.layers if layer not in frozen)
    learned = sum(np.prod(weight.shape) for weight in network.trainable_weights)
    return BASE + 4 * (batch_size * held * COPIES + 4 * learned)


def available() -> int | None:
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


def check(name: str, network: Any, config: TrainingConfig) -> None:
    """Raise UserError where a training of `network` on the CPU would not fit, with the --accumulate that would fit."""
    free = available()
    if free is None or not devices.visible()[0].startswith("cpu"):
        return  # a GPU refuses by itself
    size, steps = config.batch_size, config.accumulate
    if (need := needed(network, size)) <= free:
        return
    text = f"{name} takes about {need / 1e9:.0f} GB at --batch_size {size}, {free / 1e9:.0f} GB are free"
    fitting = [part for part in range(1, size) if size % part == 0 and needed(network, part) <= free]
    if not fitting:
        raise UserError(f"{text}; one image at a time takes {needed(network, 1) / 1e9:.0f} GB")
    part = fitting[-1]
    need = needed(network, part)
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
