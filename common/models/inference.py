"""Networks made ready to predict: the same outputs from less arithmetic and fewer passes through memory."""

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from common.core import device
from common.core.environment import SLOW_BFLOAT16, has_bfloat16
from common.core.messages import warn
from common.models import weight_files
from common.models.backbones import build_network
from common.models.registry import ModelSpec

layers, ops = keras.layers, cast(Any, keras.ops)  # Any: its annotations are another backend's
WINOGRAD_CHANNELS = 64  # with fewer, a convolution waits for memory, and Winograd's form moves more of it
# Layers that hold pixel values, which bfloat16 would round to steps of up to 2.
FLOAT32 = ("reconstruction", "reconstruction_norm", "JNDImg")


def load_network(
    spec: ModelSpec, file: Path, outputs: Iterable[str], precision: str = "float32", winograd: bool = True
) -> keras.Model:
    """Return a model with the weights of a file, made ready to predict: image -> the layers named `outputs`.

    Raises UserError where the file does not fit.
    """
    if precision == "bfloat16":
        warn_of_slow_bfloat16()
    model = build_network(spec)
    weight_files.load(model, file)
    return for_prediction(model, outputs, precision, winograd)


@functools.cache  # once is enough
def warn_of_slow_bfloat16() -> None:
    """Say on stderr where the processor computes in bfloat16 without having instructions for it."""
    if device.current().kind == "cpu" and has_bfloat16() is False:
        warn(SLOW_BFLOAT16)


def for_prediction(
    model: keras.Model, outputs: Iterable[str], precision: str = "float32", winograd: bool = True
) -> keras.Model:
    """Return a copy of `model` that only predicts: image -> the layers named `outputs`.

    Each BatchNormalization that follows a convolution goes into that convolution's weights; on TensorFlow and a CPU
    each Conv 3x3, ReLU, maximum of 2x2 that is bound by arithmetic becomes one `WinogradConvPool`.  In float32 the
    outputs differ from the model's by rounding alone.

    Args:
        precision: "float32", or "bfloat16" for weights and arithmetic of all layers but the outputs and those that hold
            pixels: half the memory, and twice the speed on a processor with bfloat16 instructions (AVX512-BF16, AMX).
        winograd: False keeps to layers that every runtime knows and has its own fast ways for.
    """
    outputs = list(outputs)
    backend = keras.backend.backend()
    if backend == "openvino":  # has one precision for the whole network, and by itself does not choose float32
        _openvino_precision(precision)
        precision = "float32"
    part = keras.Model(model.input, [model.get_layer(name).output for name in outputs])
    known = {layer.name: layer for layer in part.layers}
    # What blocks.py names NAME_conv, NAME_norm and, in REC blocks, NAME_relu and NAME_pool.
    blocks = [name.removesuffix("_norm") for name in known if name.endswith("_norm")]
    blocks = [name for name in blocks if f"{name}_conv" in known]
    pooled = []
    if winograd and device.uses_winograd(device.current(), precision):
        pooled = [name for name in blocks if f"{name}_pool" in known]
        pooled = [name for name in pooled if known[f"{name}_conv"].input.shape[-1] >= WINOGRAD_CHANNELS]
    gone = {f"{name}_norm" for name in blocks} | {f"{name}_{step}" for name in pooled for step in ("relu", "pool")}

    def copy(layer):
        if layer.name in gone:
            return layers.Identity(name=layer.name)
        if layer.name.removesuffix("_conv") in pooled:
            return WinogradConvPool(layer.filters, name=layer.name)
        config = layer.get_config()
        if layer.name not in outputs and not layer.name.endswith(FLOAT32):
            config["dtype"] = precision
        return layer.__class__.from_config(config)

    network = keras.models.clone_model(part, clone_function=copy, call_function=lambda layer, x, **_: layer(x))
    arrays = {name: layer.get_weights() for name, layer in known.items() if layer.weights and name not in gone}
    for name in blocks:
        norm = known[f"{name}_norm"]
        kernel, bias = arrays[f"{name}_conv"]
        arrays[f"{name}_conv"] = _fold(kernel, bias, norm.get_weights(), norm.epsilon)
    for name in pooled:
        kernel, bias = arrays[f"{name}_conv"]
        arrays[f"{name}_conv"] = [_winograd_kernel(kernel), bias]
    for name, values in arrays.items():
        network.get_layer(name).set_weights(values)
    return network


def _openvino_precision(precision):
    """Set the precision in the function by which Keras compiles OpenVINO models; Keras itself sets none."""
    import openvino

    hint = {"INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision]}
    if threads := os.environ.get("OMP_NUM_THREADS"):  # OpenVINO ignores this variable
        hint["INFERENCE_NUM_THREADS"] = threads
    openvino.compile_model = functools.partial(openvino.Core().compile_model, config=hint)


def _fold(kernel, bias, norm_weights, epsilon):
    """Kernel (H, W, C, F) and bias (F,) of the one convolution that does what it and a BatchNormalization do."""
    gamma, beta, mean, variance = norm_weights
    gain = gamma / np.sqrt(variance + epsilon)
    return [kernel * gain, (bias - mean) * gain + beta]


class WinogradConvPool(layers.Layer):
    """Conv 3x3 "same", ReLU, maximum of 2x2: (B, H, W, C) -> (B, H / 2, W / 2, filters), H and W even.

    A tile of 4x4 inputs gives the 2x2 outputs of which the maximum is kept, with 16 multiplications a channel instead
    of 36, as 1x1 convolutions.

    Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, F(2x2, 3x3).
    """

    def __init__(self, filters, **settings):
        super().__init__(**settings)
        self.filters = filters

    def build(self, shape: tuple) -> None:
        self.kernel = self.add_weight(shape=(16, 1, 1, shape[-1], self.filters), initializer="zeros", name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, x: Any) -> Any:
        height, width, channels = x.shape[1] // 2, x.shape[2] // 2, x.shape[3]
        x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        x = ops.reshape(x, (-1, height + 1, 2, width + 1, 2, channels))
        # parities[i][j]: every second row from i, every second column from j, (B, H / 2 + 1, W / 2 + 1, C)
        parities = [ops.unstack(rows, axis=3) for rows in ops.unstack(x, axis=2)]
        rows = [
            _spread([parities[tap % 2][column][:, tap // 2 : tap // 2 + height] for tap in range(4)])
            for column in (0, 1)
        ]
        tiles = [
            tile
            for row in zip(*rows)
            for tile in _spread([row[tap % 2][:, :, tap // 2 : tap // 2 + width] for tap in range(4)])
        ]  # 16 x (B, H / 2, W / 2, C)
        products = [ops.conv(tile, kernel) for tile, kernel in zip(tiles, ops.unstack(self.kernel, axis=0))]
        columns = [_gather(products[column::4]) for column in range(4)]
        (a, b), (c, d) = (_gather(row) for row in zip(*columns))
        return ops.relu(ops.maximum(ops.maximum(a, b), ops.maximum(c, d)) + self.bias)


def _winograd_kernel(kernel):
    """The kernel (3, 3, C, F) as WinogradConvPool wants it, (16, 1, 1, C, F)."""
    transform = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    spread = np.einsum("ai,bj,ijcf->abcf", transform, transform, kernel.astype("float64"))
    return spread.reshape(16, 1, 1, *kernel.shape[2:]).astype(kernel.dtype)


def _spread(taps):
    """Four inputs in a row -> the four that are multiplied."""
    a, b, c, d = taps
    return [a - c, b + c, c - b, b - d]


def _gather(products):
    """The four products -> two outputs in a row."""
    a, b, c, d = products
    return [a + b + c, b - c - d]


def image_bytes(network: keras.Model) -> int:
    """Bytes that the outputs of all layers take for an image, in float32: more than are held at once."""
    return 4 * sum(int(np.prod(layer.output.shape[1:])) for layer in network.layers)


def compute_with(network: keras.Model) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return the function that computes a network's outputs for a batch, a list also where there is one."""
    return lambda arrays: keras.tree.flatten(network.predict_on_batch(arrays))
