"""What computes a prediction: Keras with weights, or without Keras the runtime of an exported network."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from common.core import device
from common.core.errors import UserError
from common.core.files import sha256
from common.core.keras_backend import backend_name, load_keras, use_backend
from common.core.messages import detail, warn
from common.models import exported
from common.models.registry import ModelSpec
from common.prediction import export_cache
from common.prediction.config import ComputeConfig, PredictionConfig
from common.prediction.runtimes import open_runtime, require_finite


@dataclass(frozen=True)
class Network:
    """Computes the outputs of a network, (B, ...) each, for a batch of its inputs.

    Args:
        compute: The same without a check of what comes out.
        file: What it was read from.
        image_bytes: What its layers take for an image; None where no Keras computes.
    """

    compute: Callable[[np.ndarray], Sequence[np.ndarray]]
    file: Path
    image_bytes: int | None = None

    def __call__(self, images: np.ndarray) -> Sequence[np.ndarray]:
        """Raise UserError where a value is no number, which finite weights may give too."""
        outputs = self.compute(images)
        for output in outputs:
            require_finite(output, f"{self.file}: ")
        return outputs

    def batch_size(self, on_cpu: int) -> int:
        """Return how many images to predict at once; on_cpu: on a CPU."""
        return on_cpu if self.image_bytes is None else device.batch_size(device.current(), self.image_bytes, on_cpu)


def runtime_format(files: Iterable[Path], config: ComputeConfig) -> str | None:
    """Return the format of exported networks that compute with these files; None for Keras.

    Raises UserError where a file is an exported network of another runtime than the backend chosen.
    """
    formats = {exported.format_of(file): file for file in files}
    wanted = exported.RUNTIMES.get(config.backend or "")
    for name, file in formats.items():
        if name and config.backend and name != wanted:
            module, _ = exported.FORMATS[name].runs_on or ("", "")
            raise UserError(f"{file}: runs on {module}; leave out --backend {config.backend}")
    return next(iter(formats), None) or wanted


def with_fastest_backend(
    spec: ModelSpec, weights: Mapping[str | None, Path], config: PredictionConfig
) -> PredictionConfig:
    """Return the settings with the backend "onnxruntime" where nobody chose one and it can take the place of Keras.

    It computes each model in less time on a CPU, and starts in a fraction of Keras's time.  Weights that it has not
    seen before are exported here; where they cannot be, Keras computes, with a warning.
    """
    is_chosen = config.backend or os.environ.get("KERAS_BACKEND") or config.precision != "float32"
    if is_chosen or any(map(exported.format_of, weights.values())) or device.shows_gpu():
        return config
    if exported.missing_packages(*exported.FORMATS["onnx"].needs, exported.FORMATS["onnx"].runs_on):
        return config
    try:
        for level, file in weights.items():
            export_cache.find(spec, level, file, "onnx")
    except (UserError, OSError) as error:
        warn(f"{error}; computes by Keras")
        return config
    return replace(config, backend="onnxruntime")


def with_input_of(spec: ModelSpec, files: Iterable[Path], config: ComputeConfig) -> ModelSpec:
    """Return the model with the input that what computes with these files takes."""
    if not runtime_format(files, config) or spec.input.raw:
        return spec
    return replace(spec, input=replace(spec.input, raw=True))


def packages(files: Iterable[Path], config: ComputeConfig) -> tuple[str, ...]:
    """Return the packages that compute: ("keras", "tensorflow"), ("onnxruntime",) ..."""
    form = exported.FORMATS.get(runtime_format(files, config) or "")
    return (form.runs_on[0],) if form and form.runs_on else ("keras", config.backend or backend_name())


def start_backend(files: Iterable[Path], config: ComputeConfig, **settings: Any) -> None:
    """Load Keras, with more `settings` of `load_keras`, unless an exported network computes."""
    if not runtime_format(files, config):
        if config.backend:
            use_backend(config.backend)
        load_keras(tf32=config.tf32 == "on", **settings)


def open_network(
    spec: ModelSpec, level: str | None, file: Path, outputs: Sequence[str], config: ComputeConfig
) -> Network:
    """Return what computes the `outputs` of a network, names of its layers; `start_backend` comes before.

    Args:
        spec: Of `with_input_of`.
        level: "JND1" to "JND3"; None for all levels at once.
        file: A weight file, or an exported network, which has no outputs but levels.

    Raises:
        UserError: The file is damaged or another model's, or what should compute is missing.
    """
    format_name, precision = runtime_format([file], config), config.precision
    detail(f"{spec.name} from {file}, {precision}, on {format_name or 'Keras'}")
    if not format_name:
        from common.models import inference

        network = inference.load_network(spec, file, outputs, precision)
        return Network(inference.compute_with(network), file, inference.image_bytes(network))
    if not exported.format_of(file):
        file = export_cache.find(spec, level, file, format_name)
    run, levels = open_runtime(file, format_name, precision), spec.levels(level)

    def compute(images):
        predicted = run(images)
        return [predicted[levels[name]] for name in outputs]

    return Network(compute, file)


def weights_digest(file: Path) -> str:
    """Return the SHA-256 of a weight file, or of that which an exported network was made of."""
    return exported.describe(file)["weights"]["sha256"] if exported.format_of(file) else sha256(file)


def stored_precision(file: Path, precision: str) -> str:
    """Return the precision of the weights in an exported file where it is less than float32; else `precision`."""
    stored = exported.describe(file)["precision"] if exported.format_of(file) else "float32"
    return precision if stored == "float32" else stored
