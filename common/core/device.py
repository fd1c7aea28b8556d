"""The device that Keras computes on, and each decision that depends on it."""

import os
import subprocess
import sys
from typing import Any, NamedTuple

from common.core import threads
from common.core.keras_backend import backend_name
from common.core.messages import warn

SHARE = 0.5  # of the free memory that a batch may take: convolutions need room to work besides
LARGEST_BATCH = 32  # images; more gain little on a GPU, and the first result waits longer
UNKNOWN_BATCH = 4  # images, where the free memory is unknown
AMPERE = (8, 0)  # compute capability from which NVIDIA's cards have bfloat16 and TF32


class Device(NamedTuple):
    """What computes.

    Attributes:
        kind: "cpu", or "gpu" for anything else.
        name: For a person.
        free: Bytes of its memory; None where they are unknown.
        capability: Compute capability of an NVIDIA card, (8, 0); None for what is none.
    """

    kind: str = "cpu"
    name: str = "CPU"
    free: int | None = None
    capability: tuple[int, int] | None = None


def current() -> Device:
    """Return the first device of Keras's backend, which is loaded."""
    backend = backend_name()
    framework: Any = sys.modules.get(backend)
    if backend == "torch" and framework.cuda.is_available():
        cuda = framework.cuda
        return Device("gpu", cuda.get_device_name(), cuda.mem_get_info()[0], cuda.get_device_capability())
    if backend == "jax" and (first := framework.local_devices()[0]).platform != "cpu":
        memory = first.memory_stats() or {}
        free = memory["bytes_limit"] - memory["bytes_in_use"] if "bytes_limit" in memory else None
        major, point, minor = str(getattr(first, "compute_capability", "")).partition(".")  # AMD's are "gfx90a"
        return Device("gpu", first.device_kind, free, (int(major), int(minor)) if point else None)
    if backend == "tensorflow" and (gpus := framework.config.get_visible_devices("GPU")):
        details = framework.config.experimental.get_device_details(gpus[0])
        return Device("gpu", details.get("device_name", "GPU"), _free_by_driver(), details.get("compute_capability"))
    return Device()


def shows_gpu() -> bool:
    """Return whether the system shows a GPU's driver to this process; no framework is loaded to find out.

    NVIDIA's, AMD's, or that of Windows below Linux.
    """
    is_hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not is_hidden and any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")))


def _free_by_driver() -> int | None:
    """Bytes that are free on the first NVIDIA card; TensorFlow does not say."""
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        return min(int(line) for line in text.split()) << 20  # of several, the one with the least: which is first?
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def uses_winograd(device: Device, precision: str) -> bool:
    """Return whether our `WinogradConvPool` is faster than what the backend has: for TensorFlow on CPUs only.

    PyTorch takes 20 GB for it; bfloat16 has too few digits for the sums of its transform.
    """
    return device.kind == "cpu" and backend_name() == "tensorflow" and precision == "float32"


def batch_size(device: Device, image_bytes: int, on_cpu: int) -> int:
    """Return how many images to predict at once.

    Args:
        image_bytes: What the outputs of all layers of the network take for an image.
        on_cpu: The number on a CPU, where more gain nothing.
    """
    if device.kind == "cpu":
        return on_cpu
    if device.free is None:
        unknown = "its free memory is unknown"
        warn(f"{device.name}: {unknown}; predicts {UNKNOWN_BATCH} images at once (--batch_size)")
        return UNKNOWN_BATCH
    fitting = int(min(device.free * SHARE // image_bytes, LARGEST_BATCH))
    return 1 << fitting.bit_length() - 1 if fitting else 1  # a power of 2


def loaders(device: Device) -> tuple[int, int]:
    """Return how many threads decode the batches of a training, and how many batches may wait."""
    if device.kind == "cpu":  # whose cores the network needs, too
        return min(threads.CORES, 8), 4
    return threads.CORES, min(max(threads.CORES, 4), 32)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether TensorFlow, PyTorch or JAX, which need not be loaded here, say that a device's memory is full."""
    name = type(error).__name__
    return name in ("ResourceExhaustedError", "OutOfMemoryError") or "RESOURCE_EXHAUSTED" in str(error)


def training_advice(device: Device, precision: str, tf32: bool) -> str:
    """Say with which digits a card trains, and what is faster; "" where nothing is."""
    if precision != "float32" or device.capability is None or device.capability < AMPERE:
        return ""
    digits = " rounds the factors of float32 products to 10 bits (TF32; --tf32 off for all 23);" if tf32 else ":"
    return f"{device.name}{digits} --precision mixed_bfloat16 takes less time and memory"
