"""The papers' blocks: LAT block, REC block and the regression head.

BatchNormalization has Keras's defaults (momentum 0.99, epsilon 1e-3), as in the released models.
"""

from keras import layers

RATIO = 8


def channel_attention(x, name):
    """Weigh the channels of `x`, (B, H, W, C) -> (B, H, W, C), each by a factor in 0..1 that its mean and maximum give.

    name: put before the layers' names.  C must be a multiple of 8, the reduction ratio.
    """
    channels = x.shape[-1]
    squeeze = layers.Dense(channels // RATIO, "relu", kernel_initializer="he_normal", name=f"{name}_squeeze")
    excite = layers.Dense(channels, kernel_initializer="he_normal", name=f"{name}_excite")
    average = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_average")(x)  # (B, H, W, C) -> (B, 1, 1, C)
    maximum = layers.GlobalMaxPooling2D(keepdims=True, name=f"{name}_maximum")(x)
    total = layers.Add(name=f"{name}_sum")([excite(squeeze(average)), excite(squeeze(maximum))])
    return layers.Multiply(name=f"{name}_scale")([x, layers.Activation("sigmoid", name=f"{name}_sigmoid")(total)])


def lat_block(x, filters, name):
    """Conv 3x3, BatchNormalization, ReLU, channel attention: (B, H, W, C) -> (B, H, W, filters)."""
    return channel_attention(_conv_norm_relu(x, filters, name), f"{name}_attention")


def rec_block(x, filters, name):
    """Conv 3x3, BatchNormalization, ReLU, maximum of 2x2: (B, H, W, C) -> (B, H // 2, W // 2, filters)."""
    return layers.MaxPooling2D(name=f"{name}_pool")(_conv_norm_relu(x, filters, name))


def regression_head(x, hidden, name):
    """Dense layers of `hidden` units, then the level: features (B, F) -> QP (B, 1), not below 0; all with ReLU.

    name: of the last layer, such as `JND_output`, which is float32 whatever the precision of the rest.
    """
    for number, units in enumerate(hidden, start=1):
        x = layers.Dense(units, "relu", name=f"{name}_dense_{number}")(x)
    return layers.Dense(1, "relu", name=name, dtype="float32")(x)


def _conv_norm_relu(x, filters, name):
    x = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv")(x)
    x = layers.BatchNormalization(name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
