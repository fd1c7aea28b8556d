"""The papers' blocks: LAT block, REC block, the channel attention of the LAT block, and the regression head.

The papers call the attention squeeze-and-excitation (arXiv 1709.01507); the released models compute the channel
attention of CBAM (Woo et al., arXiv 1807.06521) instead: average *and* maximum of each channel pass the same two Dense
layers.  The two have the same weight shapes, so a plain SE block would load the released weights without complaint and
predict wrongly.

BatchNormalization has Keras's defaults (momentum 0.99, epsilon 1e-3), as in the released models.
"""

from typing import Any

from common.core import keras

RATIO = 8  # of the channel attention's reduction


def lat_block(x: Any, filters: int, name: str) -> Any:
    """Apply Conv 3x3, BatchNormalization, ReLU, channel attention: (B, H, W, C) -> (B, H, W, filters)."""
    return channel_attention(_conv_norm_relu(x, filters, name), f"{name}_attention")


def rec_block(x: Any, filters: int, name: str) -> Any:
    """Apply Conv 3x3, BatchNormalization, ReLU, maximum of 2x2: (B, H, W, C) -> (B, H // 2, W // 2, filters)."""
    return keras.layers.MaxPooling2D(name=f"{name}_pool")(_conv_norm_relu(x, filters, name))


def channel_attention(x: Any, name: str) -> Any:
    """Multiply each channel by a factor in 0..1 that follows from its mean and maximum: (B, H, W, C) -> (B, H, W, C).

    C is a multiple of RATIO.
    """
    layers, channels = keras.layers, x.shape[-1]
    squeeze = layers.Dense(channels // RATIO, "relu", kernel_initializer="he_normal", name=f"{name}_squeeze")
    excite = layers.Dense(channels, kernel_initializer="he_normal", name=f"{name}_excite")
    average = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_average")(x)  # (B, H, W, C) -> (B, 1, 1, C)
    maximum = layers.GlobalMaxPooling2D(keepdims=True, name=f"{name}_maximum")(x)
    total = layers.Add(name=f"{name}_sum")([excite(squeeze(average)), excite(squeeze(maximum))])
    factors = layers.Activation("sigmoid", name=f"{name}_sigmoid")(total)
    return layers.Multiply(name=f"{name}_scale")([x, factors])


def regression_head(x: Any, hidden: tuple[int, ...], name: str) -> Any:
    """Apply Dense layers of `hidden` units, then the QP: features (B, F) -> QP (B, 1), at least 0; all with ReLU.

    `name` is that of the last layer, such as `JND_output`, which is float32 whatever the precision of the others.
    """
    for number, units in enumerate(hidden, start=1):
        x = keras.layers.Dense(units, "relu", name=f"{name}_dense_{number}")(x)
    return keras.layers.Dense(1, "relu", name=name, dtype="float32")(x)


def _conv_norm_relu(x: Any, filters: int, name: str) -> Any:
    x = keras.layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv")(x)
    x = keras.layers.BatchNormalization(name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)
