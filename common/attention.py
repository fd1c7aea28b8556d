"""The channel attention of the LAT models.

The papers call it squeeze-and-excitation (arXiv 1709.01507); the released models compute the channel attention of CBAM
(Woo et al., arXiv 1807.06521) instead: average *and* maximum of each channel pass the same two Dense layers.  The two
have the same weight shapes, so a plain SE block would load the released weights without complaint and answer wrongly.
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
