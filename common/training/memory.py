"""Whether a training fits into the machine's memory and on its disk, said before it starts and not in the middle."""

from pathlib import Path

import keras
import numpy as np

from common.core.errors import UserError
from common.core.files import check_disk_space
from common.training import features

COPIES = 2.2  # of each layer's output, held for the way back, with gradients: 1.5 to 2.3 measured on the REC models
BASE = 1.2e9  # TensorFlow itself, bytes


def needed(network, batch_size, patch=None):
    """About how many bytes a training step of `network` takes at `batch_size`."""
    frozen = features.frozen_layers(network)
    shape = network.inputs[0].shape[1:3]
    share = np.prod(patch) / np.prod(shape) if patch else 1
    held = sum(np.prod(layer.output.shape[1:]) for layer in network.layers if layer not in frozen)
    learned = sum(np.prod(weight.shape) for weight in network.trainable_weights)
    return BASE + 4 * (batch_size * held * share * COPIES + 4 * learned)


def available():
    """Bytes of memory that are free on this machine and allowed to this process; None where nobody says."""
    limits = []
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        limits.append(int(lines["MemAvailable"].split()[0]) * 1024)
        group = Path("/sys/fs/cgroup")
        limits.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, KeyError, ValueError):
        pass
    return min(limits, default=None)


def check(name, network, patch, options):
    """Raise UserError where a training of `network` on the CPU would not fit, with the --accumulate that would."""
    free = available()
    if free is None or any(device.startswith("gpu") for device in keras.distribution.list_devices()):
        return  # a GPU refuses by itself
    size, steps = options.batch_size, options.accumulate
    if (need := needed(network, size, patch)) <= free:
        return
    text = f"{name} takes about {need / 1e9:.0f} GB at --batch_size {size}, {free / 1e9:.0f} GB are free"
    fitting = [part for part in range(1, size) if size % part == 0 and needed(network, part, patch) <= free]
    if not fitting:
        raise UserError(f"{text}; one picture at a time takes {needed(network, 1, patch) / 1e9:.0f} GB")
    part = fitting[-1]
    need = needed(network, part, patch)
    raise UserError(
        f"{text}; --batch_size {part} --accumulate {size * steps // part} takes {need / 1e9:.0f} GB and learns from as "
        "many pictures a step"
    )


def check_disk(written):
    """Raise UserError where the disk has no room for what a training writes again and again.

    written: {file: the variables in it}, all in one folder.  A new file lies beside the old one until it is whole.
    """
    sizes = [sum(4 * int(np.prod(variable.shape)) for variable in variables) for variables in written.values()]
    there = sum(file.stat().st_size for file in written if file.exists())
    size = sum(sizes) + max(sizes) + 1_000_000 - there  # and a little for the log, the record and the curves
    what = "the best weights and the state for --resume take"
    check_disk_space(next(iter(written)).parent, size, what, "give another --checkpoint_path")
