"""`python3 LAT.py export ...`: a trained network as a file that runs without this project, in another runtime."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common.core.errors import UserError
from common.core.files import atomic_group, check_writable, sha256
from common.core.keras_backend import backend_name, load_keras, silent_stderr
from common.core.messages import note
from common.models import weight_search
from common.models.exported import FORMATS, INPUT, INTERFACE, RUNTIMES, missing_packages
from common.models.registry import ModelSpec
from common.prediction.config import ExportConfig

ORDINALS = {"JND1": "first", "JND2": "second", "JND3": "third"}


def export(spec: ModelSpec, config: ExportConfig) -> None:
    """Write the network that predicts, compare its levels where its runtime is installed, and print what was written.

    Raises UserError where the format, a package, the weights or the output's place do not fit, or the levels differ.
    """
    if (backend := backend_name()) != "tensorflow":
        raise UserError(f"KERAS_BACKEND={backend}: exports on TensorFlow only; unset KERAS_BACKEND")
    form, float16 = FORMATS[config.format], config.precision == "float16"
    if float16 and not form.float16:
        raise UserError(f"--precision float16: not for {config.format}, whose runtime would compute with it")
    if missing := missing_packages(*form.needs):
        raise UserError(f"--format {config.format} needs more than requirements.txt: pip install {missing}")
    weights = weight_search.find(config.model_weights_path, spec.weight_names(config.level), spec.name)
    target = _target(spec, config)
    try:
        os.path.abspath(target).encode()
    except UnicodeEncodeError:  # which TensorFlow and the other runtimes cannot write to
        raise UserError(f"{target}: a name that is not UTF-8; give another folder") from None
    parts = [target, *([target.with_suffix(form.companion)] if form.companion else [])]
    _check_parts([*parts, _description_file(target)], config.overwrite)

    # Nothing here is worth a GPU, whose float32 convolutions have 10 bits.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    if config.format == "onnx":
        # Protobuf in C keeps each copy of the weights that tf2onnx makes: 20 GB for MT_3LJND, and 5 in Python.
        os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    load_keras(training=True)
    from common.models.inference import load_network
    from common.prediction import converters

    levels = spec.levels(config.level)
    network = load_network(spec, weights, levels, winograd=False)
    served = converters.Served(network, spec.input, list(levels.values()), form.batch)
    description = describe(spec, config, weights)
    with atomic_group(target) as folder, silent_stderr(), _full_disk(target):
        converters.WRITERS[config.format](served, folder / target.name, description, float16)
        (folder / _description_file(target).name).write_text(json.dumps(description, indent=2) + "\n")
        runs_on = form.runs_on if config.format in RUNTIMES.values() else None  # the others run by TensorFlow here
        if missing := missing_packages(runs_on):
            comparison = f"not compared with Keras's, for want of {missing}"
        else:
            run = converters.RUNNERS[config.format](folder / target.name)
            difference = converters.compare(run, network, spec.input, tolerance=2e-3 if float16 else 1e-4)
            comparison = f"its levels are Keras's within {difference:.1g} QP"
    size = sum(file.stat().st_size for part in parts for file in (part, *part.rglob("*")))
    print(f"{target}: {size / 1e6:.1f} MB, weights {weights}; {comparison}")
    note(f"what goes in and comes out: {_description_file(target)}; how to run it: docs/export.md")


def describe(spec: ModelSpec, config: ExportConfig, weights: Path) -> dict[str, Any]:
    """Return what a stranger to this project must know of an exported file, for JSON."""
    form, height, width = FORMATS[config.format], spec.input.height, spec.input.width
    batch = form.batch or "batch"
    packages = ["tensorflow", "keras", *(name.split("==")[0] for _, name in form.needs)]
    return {
        "interface": INTERFACE,
        "model": spec.name,
        "format": config.format,
        "precision": config.precision,
        "input": {
            "name": INPUT,
            "shape": [batch, height, width, 3],
            "dtype": "uint8",
            "values": "R, G, B, 0 to 255; what the network wants else, colour order and scale, is changed inside",
            "resize": f"the whole image, upright, stretched to {width}x{height} as OpenCV's resize with INTER_LINEAR "
            "does: pixel centres at halves, two neighbours a direction, no antialiasing, rounded to uint8",
        },
        "outputs": {
            level: f"float32 ({batch}, 1): the QP, 0 and above, not rounded, of the {ORDINALS[level]} just noticeable "
            "difference; where the training's labels were JPEG quality factors, a quality factor"
            for level in spec.levels(config.level).values()
        },
        "weights": {"file": weights.name, "sha256": sha256(weights)},
        "versions": {package: version(package) for package in packages},
    }


def _description_file(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _target(spec: ModelSpec, config: ExportConfig) -> Path:
    """The file, or SavedModel's folder, that `--output` names, or for which it names a folder."""
    path, suffix = Path(config.output), FORMATS[config.format].suffix
    if path.suffix == suffix:
        return path
    if path.suffix and not path.is_dir():
        raise UserError(f"{path}: expected a name that ends in {suffix} for {config.format}, or a folder")
    return path / Path(spec.released_name(config.level)).with_suffix(suffix).name


def _check_parts(parts: Sequence[Path], overwrite: bool) -> None:
    """Raise UserError where one of the files exists and may not be replaced, or cannot be written."""
    existing = next((part for part in parts if part.exists()), None)
    if existing and not overwrite:
        raise UserError(f"{existing}: exists; give another name, or --overwrite to replace it")
    for part in parts:
        if not (part.suffix == ".savedmodel" and (part / "saved_model.pb").is_file()):
            check_writable(part)


@contextlib.contextmanager
def _full_disk(target: Path) -> Iterator[None]:
    """Turn what TensorFlow and OpenVINO raise on a full disk into a line for a person."""
    try:
        yield
    except Exception as error:
        if not any(word in str(error) for word in ("o space left", "iostream error")):
            raise
        raise UserError(f"{target}: cannot be written; is the disk full?") from None
