"""The settings of predictions and exports; the flags of the commands have the same names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.media.formats import is_clip
from common.models.exported import RUNTIMES
from common.models.weight_search import WeightsConfig

RESIZE_MODES = {
    "stretch": "all of it, to the network's size, as the papers do",
    "crop": "its middle, cut to 16:9",
    "tiles": "pieces of 640x360; the image gets the lowest level of its pieces",
}
PRECISIONS = ("float32", "bfloat16")
SWITCH = ("off", "on")
BACKENDS = ("tensorflow", *RUNTIMES, "jax", "torch")
"""What can compute; see ComputeConfig."""


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How a network computes.

    Args:
        precision: Of weights and arithmetic, one of PRECISIONS.
        batch_size: Images in the network at once; more than a few gain something on a GPU only.  None for the model's
            on a CPU, and on a GPU as many as fit; the memory that is free decides, and with it the levels' last digit.
        tf32: "off", or "on": GPUs may round the factors of float32 products to 10 bits.
        backend: What computes: "tensorflow", "jax" or "torch" for Keras, which runs on one of them in a process;
            "onnxruntime" or "openvino" without Keras, from weights that are exported once into a cache.  None for
            $KERAS_BACKEND, or TensorFlow.  An exported network has its own runtime.

    Raises:
        ValueError: A setting has a value that it does not take.
    """

    precision: str = "float32"
    batch_size: int | None = None
    tf32: str = "off"
    backend: str | None = None

    def __post_init__(self):
        known = {"precision": PRECISIONS, "tf32": SWITCH, "backend": (None, *BACKENDS), "resize_mode": RESIZE_MODES}
        for name, value in vars(self).items():
            if name in known and value not in known[name]:
                raise ValueError(f"{name} {value!r}: expected {', '.join(map(str, known[name]))}")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size {self.batch_size}: expected at least 1")


@dataclass(frozen=True, kw_only=True)
class PredictorConfig(ComputeConfig):
    """How a network predicts the levels of an image.

    Args:
        input_size: (height, width) that the network sees; None for the paper's.
        resize_mode: What it sees of an image, a key of RESIZE_MODES.
    """

    batch_size: int | None = 1
    input_size: tuple[int, int] | None = None
    resize_mode: str = "stretch"


@dataclass(frozen=True, kw_only=True)
class PredictionConfig(PredictorConfig, WeightsConfig):
    """How the levels of files are predicted, with which weights and where.

    Args:
        frames: Which frames of a clip, as `common.media.clips.extract_frames` takes them.
        dask: Address of the Dask scheduler whose workers predict; None for this machine.
    """

    frames: str = "scenes+1s"
    dask: str | None = None

    def by(self, path: str, model: str, digests: Sequence[str], precision: str = "") -> str:
        """Return what the rows of a file depend on besides the file: "LAT 1a2b3c4d stretch float32 scenes+1s".

        `--resume` keeps the rows of an earlier run that have the same text in the column `by`.  digests: of the
        weights, hexadecimal.  precision: Where it is another than this configuration's.
        """
        parts = [model, *(digest[:8] for digest in digests), self.resize_mode, precision or self.precision]
        if self.tf32 == "on":
            parts.append("tf32")
        if self.input_size:
            parts.append("{1}x{0}".format(*self.input_size))
        return " ".join([*parts, self.frames] if is_clip(path) else parts)


@dataclass(frozen=True, kw_only=True)
class ExportConfig(WeightsConfig):
    """How a network is exported.

    Args:
        format: A key of `common.models.exported.FORMATS`.
        output: The file, or a folder for it.
        precision: Of the weights in the file, "float32" or "float16".
        overwrite: Whether to replace what was exported before.
    """

    format: str
    output: Path
    precision: str = "float32"
    overwrite: bool = False
