"""Which devices a training runs on: one, or several at once, each with its share of every batch.

Several train on TensorFlow only; on JAX and PyTorch a training runs on the first device that they see.
"""

import sys
from typing import Any

from common.core import keras
from common.core.errors import UserError
from common.core.keras_backend import backend_name
from common.core.messages import warn
from common.training.config import TrainingConfig


def names(text: str) -> list[str]:
    """The devices that `--devices` names: `one` gives none, `all` gives ["all"], else GPU:0,GPU:1 one by one."""
    return [] if text == "one" else text.split(",")


def logical_cpus(text: str) -> int:
    """How many CPUs TensorFlow must make of the machine's one, so that `--devices CPU:0,CPU:1` are there.

    Raises UserError where `text` names several devices and Keras runs on another backend.
    """
    if len(names(text)) > 1:
        _refuse_several(text, "")
    return max([int(name[4:]) + 1 for name in names(text) if name.startswith("CPU:")], default=1)


def visible() -> list[str]:
    """The devices that the backend sees, by Keras's names: ["gpu:0", "gpu:1"], or ["cpu:0"] where there is no GPU."""
    if backend_name() != "torch":
        return keras.distribution.list_devices()
    torch = sys.modules["torch"]  # Keras runs on it, but has no such list for it
    return [f"gpu:{number}" for number in range(torch.cuda.device_count())] or ["cpu:0"]


def strategy(config: TrainingConfig) -> Any:
    """A tf.distribute.MirroredStrategy over the devices that `--devices` names; None for one device.

    Raises UserError where one is not there, or other flags or the backend do not go with several.
    """
    text = config.devices
    wanted = names(text)
    if not wanted:
        return None
    if backend_name() != "tensorflow":
        present = [name.upper() for name in visible()]
    else:
        import tensorflow as tf

        present = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices()]
    if wanted == ["all"]:
        wanted = [name for name in present if name.startswith("GPU")]
        if len(wanted) < 2:
            warn(f"--devices all: {len(wanted) or 'no'} GPU here; trains on {(wanted or present)[0]}")
            return None
    _refuse_several(text, f" sees {', '.join(present)} and")
    if missing := sorted(set(wanted) - set(present)):
        raise UserError(f"--devices {text}: {', '.join(missing)} is not there; TensorFlow sees {', '.join(present)}")
    if config.batch_size % len(wanted):
        raise UserError(f"--batch_size {config.batch_size}: expected a multiple of the {len(wanted)} devices")
    # Both update the weights under a condition, where TensorFlow cannot add up gradients of several devices.
    for flag, taken in (("accumulate", config.accumulate > 1), ("precision", config.precision == "mixed_float16")):
        if taken:
            raise UserError(f"--{flag} {getattr(config, flag)}: runs on one device only; leave it or --devices out")
    return tf.distribute.MirroredStrategy(wanted)


def _refuse_several(text: str, seen: str) -> None:
    if (backend := backend_name()) != "tensorflow":
        advice = "leave --devices out, or unset KERAS_BACKEND: several work together on TensorFlow"
        raise UserError(f"--devices {text}: {backend}{seen} trains on one device; {advice}")


def synchronize(model: Any) -> None:
    """Let BatchNormalization see the whole batch, not a device's share, so that the loss is that of one device."""
    for layer in model.layers:
        if hasattr(layer, "synchronized"):
            layer.synchronized = True
