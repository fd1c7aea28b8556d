"""The visual-attention decoder of MT_1LJND_VA and MT_3LJND_VA: it learns where people look, together with the levels.

It exists in training only.  The papers' decoder, its loss and its ground truth are not public, and no released weight
file has it; this one is OURS.  The idea is that of the paper's multi-task learning: the layers of VGG16 that predict
the levels shall also know what draws the eye.

    VGG16 on an image (B, 270, 480, 3)
      | block3_pool    (B, 33, 60, 256)  Conv 1x1, 64, norm, ReLU
      | block4_conv3   (B, 33, 60, 512)  Conv 1x1, 64, norm, ReLU
      | block5_conv3   (B, 16, 30, 512)  Conv 1x1, 64, norm, ReLU, enlarged   -> (B, 33, 60, 64)
      | side by side                                                          -> (B, 33, 60, 192)
      | Conv 3x3, 64, norm, ReLU; Conv 3x3 of dilation 2, 64, norm, ReLU      -> (B, 33, 60, 64)
      | Conv 1x1, 1, softmax over all places                                  -> (B, 33, 60, 1), `VA_output`

Sources of the parts: VGG16's features of these three depths, at an eighth of the image's size, side by side: ML-Net
(M. Cornia et al., "A Deep Multi-Level Network for Saliency Prediction", ICPR 2016).  The map as a softmax over all
places and a distance between distributions as its loss: S. Jetley et al., "End-to-End Saliency Mapping via Probability
Distribution Prediction", CVPR 2016.  The metrics, of which KLD is our loss too: Z. Bylinskii et al., "What do different
evaluation metrics tell us about saliency models?", IEEE TPAMI 2019.

Norm is instance normalization (arXiv 1607.08022): of each image and channel, over the places.  The softmax compares the
places of one image.  These models see images of 0..1 without a mean subtracted, and VGG16's features of such images
differ little between places.
"""

from typing import Any

from common.core import keras

SIZE = (33, 60)
"""Height and width of the map of a 270 x 480 image: one place for 8 x 8 pixels."""

FILTERS = 64
_FLAT = 1e-5  # relative deviation from its mean below which float32 cannot tell a map from a flat one


def build_attention_decoder(vgg: Any) -> Any:
    """Build the attention map that a decoder of 230,081 parameters makes of VGG16's features.

    Args:
        vgg: A `keras.applications.VGG16`, or any model whose layers have its names.  It is not changed; a model that is
            built on it without the result does not hold the decoder.

    Returns:
        A tensor named `VA_output`, float32 (B, H // 8, W // 8, 1), so (B, 33, 60, 1) for 270 x 480; at least 0, of sum
        1 an image.  The names of the decoder's layers start with `va_` or `VA_`.

    Example:
        >>> levels = keras.Model(vgg.input, head)                                        # what is saved and used
        >>> training = keras.Model(vgg.input, [head, build_attention_decoder(vgg)])      # what is trained
    """
    fine = _conv_norm_relu(vgg.get_layer("block3_pool").output, 1, "va_block3")
    middle = _conv_norm_relu(vgg.get_layer("block4_conv3").output, 1, "va_block4")
    coarse = _conv_norm_relu(vgg.get_layer("block5_conv3").output, 1, "va_block5")
    # (B, 16, 30, 64) -> (B, 33, 60, 64): twice the size, and the row that pooling 33 rows by twos left over.
    coarse = keras.layers.Resizing(*middle.shape[1:3], interpolation="bilinear", name="va_block5_enlarged")(coarse)
    x = keras.layers.Concatenate(name="va_features")([fine, middle, coarse])
    x = _conv_norm_relu(x, 3, "va_decoder_1")
    x = _conv_norm_relu(x, 3, "va_decoder_2", dilation_rate=2)
    # Small, so that training starts near the flat map instead of unlearning a random one.
    x = keras.layers.Conv2D(1, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), name="va_logits")(x)
    return keras.layers.Softmax(axis=(1, 2, 3), dtype="float32", name="VA_output")(x)


def _conv_norm_relu(x: Any, kernel_size: int, name: str, dilation_rate: int = 1) -> Any:
    conv = keras.layers.Conv2D(
        FILTERS, kernel_size, padding="same", use_bias=False, dilation_rate=dilation_rate, name=f"{name}_conv"
    )
    x = conv(x)
    # On PyTorch, Keras's variance is a difference of squares, below -epsilon for flat channels: the norm is then NaN.
    mean = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
    x = keras.layers.Subtract(name=f"{name}_centred")([x, mean])
    x = keras.layers.GroupNormalization(groups=-1, epsilon=1e-6, name=f"{name}_norm")(x)  # a group a channel
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def kl_divergence(true: Any, predicted: Any) -> Any:
    """Return KLD, the loss: Kullback-Leibler divergence of `predicted` from `true`, in nats, 0 where they are equal.

    Here and below: maps (B, H, W, 1), at least 0 and of sum 1 an image; the result is (B,), a value an image.
    """
    log, least = keras.ops.log, keras.config.epsilon()
    return keras.ops.sum(true * (log(true + least) - log(predicted + least)), axis=(1, 2, 3))


def correlation(true: Any, predicted: Any) -> Any:
    """Return CC: Pearson's correlation over the places, -1 to 1; 0 where a map is flat."""
    ops = keras.ops

    def direction(places):
        relative = places / ops.mean(places, axis=(1, 2, 3), keepdims=True) - 1
        length = ops.sqrt(ops.mean(relative**2, axis=(1, 2, 3), keepdims=True))
        return ops.where(length > _FLAT, relative / ops.maximum(length, _FLAT), 0.0)

    return ops.mean(direction(true) * direction(predicted), axis=(1, 2, 3))


def similarity(true: Any, predicted: Any) -> Any:
    """Return SIM: the share that the two distributions have in common, 0 to 1."""
    return keras.ops.sum(keras.ops.minimum(true, predicted), axis=(1, 2, 3))
