"""The formats of other runtimes: how a network is written in each, and how such a file is run.

All are made of one TensorFlow function, which takes pictures as everybody has them, uint8 RGB (B, H, W, 3), and gives
a dict of levels, {"JND1": float32 (B, 1)}: colour order and scale are changed inside.
"""

import json
import math
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

from common.core import threads

INPUT = "picture"
LEAST = 1024  # weights that are stored as float16; a bias of 25 QP would be off by 0.01


class Served:
    """A Keras network as the function that other runtimes are given.

    network: picture, float32 in its own colour order and scale -> QP (B, 1) for each of `levels`, their names.
    input_format: of its pictures.  batch: how many pictures at once, None for any number.
    """

    def __init__(self, network, input_format, levels, batch):
        import tensorflow as tf

        self.shape = batch, *input_format.shape
        self.signature = [tf.TensorSpec(self.shape, tf.uint8, name=INPUT)]

        def serve(picture):
            answers = network(input_format.preprocess_tensor(tf.cast(picture, tf.float32)), training=False)
            return dict(zip(levels, answers if len(levels) > 1 else [answers]))

        self.function = serve

    def save(self, folder):
        """Write it as a TensorFlow SavedModel, which TFLite and OpenVINO are made from."""
        import keras

        archive = keras.export.ExportArchive()  # which finds the variables by itself; told of them, stores them twice
        archive.add_endpoint("serve", self.function, self.signature)
        archive.write_out(str(folder), verbose=False)


def write_onnx(served, path, description, half):
    """ONNX: one file, the description in its metadata properties."""
    import onnx
    import tensorflow as tf
    import tf2onnx

    model, _ = tf2onnx.convert.from_function(tf.function(served.function), served.signature)
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"  # which tf2onnx numbers
    if half:
        _halve(model.graph)
    onnx.helper.set_model_props(model, _texts(description))
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _halve(graph):
    """Store weights as float16 and turn them into float32 as they are read, as the other formats do."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and math.prod(tensor.dims) >= LEAST:
            name, array = tensor.name, numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), f"{name}_float16"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]  # a node stands behind those that it reads from
    del graph.node[:]
    graph.node.extend(nodes)


def run_onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    return lambda pixels: dict(zip(names, session.run(names, {INPUT: pixels})))


def write_openvino(served, path, description, half):
    """OpenVINO's .xml and, beside it, .bin; the description in the run-time information."""
    import openvino

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        served.save(folder)
        model = openvino.convert_model(folder)
        for key, text in _texts(description).items():
            model.set_rt_info(text, ["jnd", key])
        openvino.save_model(model, path, compress_to_fp16=half)


def run_openvino(path):
    import openvino

    # Left to itself, it computes in bfloat16 where the processor can.
    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda pixels: {output.any_name: array for output, array in model(pixels).items()}


def write_litert(served, path, description, half):
    """LiteRT, formerly TensorFlow Lite: one file, the description in the ZIP archive that may be appended to it."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        served.save(folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if half:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        path.write_bytes(converter.convert())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("description.json", json.dumps(description, indent=2))


def run_litert(path):
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it will move to a package of its own, ai-edge-litert
        runner = tf.lite.Interpreter(str(path), num_threads=threads.CORES).get_signature_runner()
    return lambda pixels: runner(**{INPUT: pixels})


def write_savedmodel(served, path, description, half):
    """A TensorFlow SavedModel: a folder, the description in its assets.extra/."""
    served.save(path)
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / "description.json").write_text(json.dumps(description, indent=2))


def run_savedmodel(path):
    import tensorflow as tf

    model = tf.saved_model.load(str(path))
    return lambda pixels: {name: tensor.numpy() for name, tensor in model.serve(tf.constant(pixels)).items()}


def _texts(description):
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in description.items()}


@dataclass(frozen=True)
class Format:
    """A format.

    suffix: of the files' names.
    write: makes the file of a Served, with a description, a dict, and where it can, half the bytes a weight.
    run: makes of a file a function, uint8 (B, H, W, 3) -> {name of the level: float32 (B, 1)}.
    needs: modules that `write` imports beside those of requirements.txt, and what installs each.
    runs_on: likewise those of `run`.
    beside: a suffix of a second file that belongs to it.
    batch: pictures at once, None for any number.
    halves: whether weights can be stored as float16.
    """

    suffix: str
    write: Callable
    run: Callable
    needs: tuple = ()
    runs_on: tuple = ()
    beside: str = ""
    batch: int | None = None
    halves: bool = True


ONNX = (("onnx", "onnx==1.23.2"), ("tf2onnx", "tf2onnx==1.17.0"))
ONNXRUNTIME = (("onnxruntime", "onnxruntime==1.31.1"),)
OPENVINO = (("openvino", "openvino==2026.4.1"),)

FORMATS = {
    "onnx": Format(".onnx", write_onnx, run_onnx, ONNX, ONNXRUNTIME),
    "openvino": Format(".xml", write_openvino, run_openvino, OPENVINO, OPENVINO, beside=".bin"),
    # One picture: of unknown size, REC takes 1.4 times as long, and no GPU or NPU delegate takes it at all.
    "litert": Format(".tflite", write_litert, run_litert, batch=1),
    "savedmodel": Format(".savedmodel", write_savedmodel, run_savedmodel, halves=False),
}
