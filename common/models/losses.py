"""Losses and metrics by name, in `keras.ops`, so that every backend of Keras can train with them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from common.core import keras
from common.models.attention_decoder import correlation, kl_divergence, similarity

PEAK = 255.0
WINDOW, SIGMA = 11, 1.5  # of SSIM, Wang et al., IEEE Trans. Image Processing 2004
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def psnr(true: Any, predicted: Any) -> Any:
    """PSNR in dB of images (B, H, W, 3) of values 0..255: (B,), as `tf.image.psnr`."""
    error = keras.ops.mean(keras.ops.square(true - predicted), axis=(1, 2, 3))
    return 10 / np.log(10) * keras.ops.log(PEAK**2 / error)


def ssim(true: Any, predicted: Any) -> Any:
    """SSIM, at most 1, of images (B, H, W, C) of values 0..255, at least 11 x 11: (B,), as `tf.image.ssim`.

    The mean over channels and over the windows that fit, with a Gaussian window and biased covariances.
    """
    ops, channels = keras.ops, true.shape[-1]
    places = np.arange(WINDOW) - (WINDOW - 1) / 2
    gauss = np.exp(-np.square(places) / (2 * SIGMA**2))
    window = np.outer(gauss, gauss) / gauss.sum() ** 2
    kernel = ops.convert_to_tensor(np.tile(window[:, :, None, None], (1, 1, channels, 1)), "float32")

    def blur(images):
        return ops.depthwise_conv(images, kernel, padding="valid")  # (B, H, W, C) -> (B, H - 10, W - 10, C)

    mean_true, mean_predicted = blur(true), blur(predicted)
    product, squares = mean_true * mean_predicted, mean_true**2 + mean_predicted**2
    covariance, variances = blur(true * predicted) - product, blur(true**2 + predicted**2) - squares
    index = (2 * product + C1) / (squares + C1) * (2 * covariance + C2) / (variances + C2)
    return ops.mean(index, axis=(1, 2, 3))


FUNCTIONS: dict[Any, Callable] = {
    "psnr": psnr,
    "ssim": ssim,
    "CC": correlation,
    "KLD": kl_divergence,
    "SIM": similarity,
}
"""What an `Output` can name besides the losses and metrics of Keras; each maps to a value an image, (B,)."""


def loss(name: str | Callable) -> str | Callable:
    """The loss called `name`, for Keras's `compile`."""
    return FUNCTIONS.get(name, name)


def metric(name: str | Callable) -> Any:
    """The metric called `name`, for Keras's `compile`: the mean over the images."""
    function = FUNCTIONS.get(name) if isinstance(name, str) else name
    return keras.metrics.MeanMetricWrapper(function, name=getattr(name, "__name__", name)) if function else name


def image_mean(loss_name: str | Callable, name: str) -> Any:
    """The metric, itself called `name`, that is the mean over the images of the loss called `loss_name`."""
    function: Any = keras.losses.get(loss(loss_name))
    function = function.call if isinstance(function, keras.losses.Loss) else function

    def values(true, predicted):
        value = function(true, predicted)
        return value if len(value.shape) else keras.ops.broadcast_to(value, keras.ops.shape(predicted)[:1])

    return keras.metrics.MeanMetricWrapper(values, name=name)
