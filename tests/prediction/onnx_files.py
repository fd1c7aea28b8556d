"""ONNX files that `export` could have written. Where ONNX or its runtime is missing, their tests are skipped."""

import json

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def write_onnx(path, model="LAT", levels=("JND1",), shape=(352, 640, 3), **description):
    """An ONNX file as `export` writes them, whose network gives the mean of R, of G and of B as the levels."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["picture"], ["numbers"], to=kinds.FLOAT),
        helper.make_node("ReduceMean", ["numbers"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Split", ["means", "ones"], [*levels, "rest"], axis=1),
    ]
    ones = onnx.numpy_helper.from_array(np.array([1] * len(levels) + [3 - len(levels)]), "ones")
    inputs = [helper.make_tensor_value_info("picture", kinds.UINT8, ["batch", *shape])]
    outputs = [helper.make_tensor_value_info(level, kinds.FLOAT, ["batch", 1]) for level in levels]
    graph = helper.make_graph(nodes, "means", inputs, outputs, [ones])
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    description = {
        "interface": 1,
        "model": model,
        "precision": "float32",
        "input": {"shape": ["batch", *shape]},
        "outputs": dict.fromkeys(levels, "float32"),
        "weights": {"file": "LATJND1.h5", "sha256": "1234567890abcdef"},
    } | description
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in description.items()}
    helper.set_model_props(network, {key: text for key, text in texts.items() if text != "null"})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(network.SerializeToString())
    return path
