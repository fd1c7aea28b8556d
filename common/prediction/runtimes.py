"""How an exported network is run by its own runtime, without Keras, TensorFlow, or the package that made the file."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from common.core import threads
from common.core.environment import SLOW_BFLOAT16, has_bfloat16
from common.core.errors import UserError
from common.core.messages import warn
from common.models.exported import FORMATS, INPUT

Runner = Callable[[np.ndarray], Mapping[str, Any]]
"""Runs an exported file: uint8 RGB (B, H, W, 3) -> {level: float32 (B, 1)}."""


def open_runtime(file: Path, format_name: str, precision: str = "float32") -> Runner:
    """Return what runs an exported file on as many threads as this process has cores.

    Raises UserError where the runtime is missing, refuses the file, or does not compute in `precision`.
    """
    if precision == "bfloat16":
        if format_name != "openvino":
            raise UserError(f"{file}: its runtime computes in float32; --precision bfloat16 is for OpenVINO's files")
        if has_bfloat16() is False:
            warn(SLOW_BFLOAT16)
    module, requirement = cast(tuple[str, str], FORMATS[format_name].runs_on)
    try:
        return _OPENERS[format_name](file, precision)
    except ModuleNotFoundError:
        raise UserError(f"{file}: needs {module} to run; pip install {requirement}") from None
    except Exception as error:  # a runtime's own, of any kind
        reason = " ".join(str(error).replace(f"from {file} failed", "failed").split())[:200]
        raise UserError(f"{file}: {module} cannot run it ({reason}); export or copy it again") from None


def _open_onnx(file, precision):
    # From its import on, it would write a device's number into the user's cache and report to Microsoft.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads.CORES
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {INPUT: images})))


def _open_openvino(file, precision):
    import openvino

    # By itself, it computes in bfloat16 where the processor can.
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads.CORES}
    model = openvino.Core().compile_model(file, "CPU", settings)
    return lambda images: {output.any_name: array for output, array in model(images).items()}


def _open_litert(file, precision):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(file), num_threads=threads.CORES).get_signature_runner()

    def run(images):
        outputs = [runner(**{INPUT: image[None]}) for image in images]  # one at once: FORMATS
        return {name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]}

    return run


_OPENERS: dict[str, Callable[[Path, str], Runner]] = {
    "onnx": _open_onnx,
    "openvino": _open_openvino,
    "litert": _open_litert,
}


def require_finite(output: np.ndarray, where: str = "") -> None:
    """Raise UserError, which begins with `where`, if a network gives a value that is no number."""
    wrong = output[~np.isfinite(output)]
    if wrong.size:
        why = "its weights are too large for the arithmetic; expected trained ones"
        raise UserError(f"{where}the network gives {wrong[0]} for an image; {why}")
