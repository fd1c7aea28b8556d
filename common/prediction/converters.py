"""How a network is written for each of the other runtimes, and how such a file is run.

All files are made of one TensorFlow function from images as everybody has them, uint8 RGB (B, H, W, 3), to a dict of
levels, {"JND1": float32 (B, 1)}: colour order and scale change inside.

This module imports Keras and TensorFlow; call `load_keras` before.
"""

import json
import math
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from skimage import data

from common.core import threads
from common.core.errors import UserError
from common.media.formats import InputFormat
from common.media.images import preprocess, resize
from common.models.exported import INPUT
from common.prediction.runtimes import Runner, open_runtime, require_finite

MIN_WEIGHTS = 1024  # in an array that is stored as float16; a bias of 25 QP would be off by 0.01


class Served:
    """A Keras network as the function that other runtimes are given."""

    def __init__(self, network: keras.Model, input_format: InputFormat, levels: Sequence[str], batch: int | None):
        """levels: names of the network's outputs, QP (B, 1).  batch: images at once; None for any number."""
        self.signature = [tf.TensorSpec((batch, *input_format.shape), tf.uint8, name=INPUT)]

        def serve(picture):  # whose parameter names the input
            outputs = network(input_format.preprocess_tensor(tf.cast(picture, tf.float32)), training=False)
            return dict(zip(levels, outputs if len(levels) > 1 else [outputs]))

        self.function = serve

    def save(self, folder: str | Path) -> None:
        """Write it as a TensorFlow SavedModel, which TFLite and OpenVINO are made from."""
        # It finds the variables by itself; if told of them, it stores them twice.
        archive: Any = keras.export.ExportArchive()
        archive.add_endpoint("serve", self.function, self.signature)
        archive.write_out(str(folder), verbose=False)


def compare(run: Runner, network: keras.Model, input_format: InputFormat, tolerance: float) -> float:
    """Return the largest difference in QP between an exported file and the network, on a photograph.

    Raises UserError where the network gives no number, or they differ by more than `tolerance`, relative to the QP, or
    to 1 where that is more.
    """
    image = resize(data.astronaut(), input_format.width, input_format.height)
    expected = np.ravel(network.predict_on_batch(preprocess(image, input_format)[None]))
    require_finite(expected)
    outputs = run(image[None])
    differences = np.abs([outputs[level].item() - qp for level, qp in zip(sorted(outputs), expected, strict=True)])
    if not (differences <= tolerance * np.maximum(expected, 1)).all():
        raise UserError(
            f"the exported file's levels are {differences.max():.2g} QP off those of Keras; it is not kept.  Are the "
            "packages' versions those that requirements.txt and docs/export.md name?"
        )
    return differences.max()


def _write_onnx(served, path, description, float16):
    """ONNX: one file, the description in its metadata properties."""
    import onnx
    import tf2onnx

    model, _ = tf2onnx.convert.from_function(tf.function(served.function), served.signature)
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"  # tf2onnx numbers it
    if float16:
        # Weights are stored as float16 and turned into float32 when they are read, as in the other formats.
        casts = []
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and math.prod(tensor.dims) >= MIN_WEIGHTS:
                name, array = tensor.name, onnx.numpy_helper.to_array(tensor)
                tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float16), f"{name}_float16"))
                casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
        nodes = [*casts, *model.graph.node]  # a node comes after those that it reads from
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    onnx.helper.set_model_props(model, _texts(description))
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _write_openvino(served, path, description, float16):
    """OpenVINO's .xml and .bin; the description in the run-time information."""
    import openvino

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        served.save(folder)
        model = openvino.convert_model(folder)
        for key, text in _texts(description).items():
            model.set_rt_info(text, ["jnd", key])
        openvino.save_model(model, path, compress_to_fp16=float16)


def _write_litert(served, path, description, float16):
    """LiteRT, formerly TensorFlow Lite: one file, the description in the ZIP archive that may be appended to it."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        served.save(folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if float16:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        path.write_bytes(converter.convert())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("description.json", json.dumps(description, indent=2))


def _run_litert(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it will move to a package of its own, ai-edge-litert
        runner = tf.lite.Interpreter(str(path), num_threads=threads.CORES).get_signature_runner()
    return lambda images: runner(**{INPUT: images})


def _write_savedmodel(served, path, description, float16):
    """A TensorFlow SavedModel: a folder, the description in its assets.extra/."""
    served.save(path)
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / "description.json").write_text(json.dumps(description, indent=2))


def _run_savedmodel(path):
    model = tf.saved_model.load(str(path))
    return lambda images: {level: tensor.numpy() for level, tensor in model.serve(tf.constant(images)).items()}


def _texts(description):
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in description.items()}


WRITERS = {"onnx": _write_onnx, "openvino": _write_openvino, "litert": _write_litert, "savedmodel": _write_savedmodel}
"""{format: writes a `Served` to a path, with a description, a dict, in it, and with float16 weights or not}"""
RUNNERS: dict[str, Callable[[Path], Runner]] = {
    "onnx": lambda path: open_runtime(path, "onnx"),
    "openvino": lambda path: open_runtime(path, "openvino"),
    "litert": _run_litert,
    "savedmodel": _run_savedmodel,
}
"""{format: opens the file at a path in its runtime, a Runner}"""
