"""The visual-attention tail of MT_1LJND_VA and MT_3LJND_VA: it learns, beside the levels, where people look.

It is there for training only.  The papers' tail, its loss and its ground truth are not public, and no released weight
file has it; this one is OURS.  The idea is that of the paper's multi-task learning: the layers of VGG16 that the levels
are read from shall also know what draws the eye.

    VGG16 on a picture (B, 270, 480, 3)
      | block3_pool    (B, 33, 60, 256)  Conv 1x1, 64, norm, ReLU
      | block4_conv3   (B, 33, 60, 512)  Conv 1x1, 64, norm, ReLU
      | block5_conv3   (B, 16, 30, 512)  Conv 1x1, 64, norm, ReLU, enlarged   -> (B, 33, 60, 64)
      | side by side                                                          -> (B, 33, 60, 192)
      | Conv 3x3, 64, norm, ReLU; Conv 3x3 of dilation 2, 64, norm, ReLU      -> (B, 33, 60, 64)
      | Conv 1x1, 1, softmax over all places                                  -> (B, 33, 60, 1), `VA_output`

Sources of the parts: VGG16's features of these three depths, at an eighth of the picture's size, side by side: ML-Net
(M. Cornia et al., "A Deep Multi-Level Network for Saliency Prediction", ICPR 2016).  The map as a softmax over all
places and a distance between distributions as its loss: S. Jetley et al., "End-to-End Saliency Mapping via Probability
Distribution Prediction", CVPR 2016.  The metrics, of which KLD is our loss too: Z. Bylinskii et al., "What do different
evaluation metrics tell us about saliency models?", IEEE TPAMI 2019.

Norm is instance normalization (arXiv 1607.08022): of each picture and channel, over the places.  The softmax asks how
places of one picture compare, and pictures of 0..1 without a mean subtracted, as these models see them, leave VGG16
features whose differences are small beside what all places share.
"""

import keras
from keras import layers, ops

SIZE = (33, 60)
"""Height and width of the map of a 270 x 480 picture: one place for 8 x 8 pixels."""

FILTERS = 64
_FLAT = 1e-5  # relative deviation from its mean below which float32 cannot tell a map from a flat one


def build_attention_decoder(vgg):
    """The attention map that a tail of 230,081 parameters reads off a Keras VGG16: a tensor named `VA_output`.

    It is float32 (B, H // 8, W // 8, 1), so (B, 33, 60, 1) for 270 x 480; at least 0, of sum 1 a picture.

    vgg: a `keras.applications.VGG16`, or any model whose layers have its names.  It is not changed; a model that is
    built on it without this tensor does not hold the tail.  The names of the tail's layers start with `va_` or `VA_`.

        >>> levels = keras.Model(vgg.input, head)                              # what is saved and used
        >>> training = keras.Model(vgg.input, [head, attention_tail(vgg)])     # what is trained
    """
    fine = _conv_norm_relu(vgg.get_layer("block3_pool").output, 1, "va_block3")
    middle = _conv_norm_relu(vgg.get_layer("block4_conv3").output, 1, "va_block4")
    coarse = _conv_norm_relu(vgg.get_layer("block5_conv3").output, 1, "va_block5")
    # (B, 16, 30, 64) -> (B, 33, 60, 64): twice the size, and the row that pooling 33 rows by twos left over.
    coarse = layers.Resizing(*middle.shape[1:3], interpolation="bilinear", name="va_block5_enlarged")(coarse)
    x = layers.Concatenate(name="va_features")([fine, middle, coarse])
    x = _conv_norm_relu(x, 3, "va_decoder_1")
    x = _conv_norm_relu(x, 3, "va_decoder_2", dilation_rate=2)
    # Small, so that training starts near the flat map instead of unlearning a random one.
    x = layers.Conv2D(1, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), name="va_logits")(x)
    return layers.Softmax(axis=(1, 2, 3), dtype="float32", name="VA_output")(x)


def _conv_norm_relu(x, kernel_size, name, **how):
    x = layers.Conv2D(FILTERS, kernel_size, padding="same", use_bias=False, name=f"{name}_conv", **how)(x)
    x = layers.GroupNormalization(groups=-1, epsilon=1e-6, name=f"{name}_norm")(x)  # a group a channel
    return layers.ReLU(name=f"{name}_relu")(x)


def kl_divergence(true, predicted):
    """KLD, the loss: Kullback-Leibler divergence of `predicted` from `true`, in nats, 0 where they are equal.

    Here and below: maps (B, H, W, 1), at least 0 and of sum 1 a picture; the result is (B,), a value a picture.
    """
    least = keras.config.epsilon()
    return ops.sum(true * (ops.log(true + least) - ops.log(predicted + least)), axis=(1, 2, 3))


def correlation(true, predicted):
    """CC: Pearson's correlation over the places, -1 to 1; 0 where a map is flat."""

    def direction(places):
        relative = places / ops.mean(places, axis=(1, 2, 3), keepdims=True) - 1
        length = ops.sqrt(ops.mean(relative**2, axis=(1, 2, 3), keepdims=True))
        return ops.where(length > _FLAT, relative / ops.maximum(length, _FLAT), 0.0)

    return ops.mean(direction(true) * direction(predicted), axis=(1, 2, 3))


def similarity(true, predicted):
    """SIM: the share that the two distributions have in common, 0 to 1."""
    return ops.sum(ops.minimum(true, predicted), axis=(1, 2, 3))


def attention_metrics():
    """CC, KLD and SIM as Keras metrics for `VA_output`: the mean over the pictures."""
    functions = {"CC": correlation, "KLD": kl_divergence, "SIM": similarity}
    return [keras.metrics.MeanMetricWrapper(function, name=name) for name, function in functions.items()]
