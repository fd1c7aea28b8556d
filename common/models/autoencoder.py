"""The autoencoder behind every TCSVT model: an image in, its latent and a reconstructed frame out.

Four weight files fit this one network: `ImgReconstruction.h5` reconstructs the image itself, `JND1Reconstruction.h5`,
`JND2Reconstruction.h5` and `JND3Reconstruction.h5` the frame as it looks at that JND level.

    image (B, 352, 640, 3), pixel values 0..255, channel 0 is blue
      | Conv 5x5/2, 128, LeakyReLU          -> (B, 176, 320, 128)
      | Conv 5x5/2, 128, LeakyReLU          -> (B,  88, 160, 128)
      | Conv 5x5/2, 128, LeakyReLU          -> (B,  44,  80, 128)
      | Conv 5x5/2, 192, linear             -> (B,  22,  40, 192)   the latent
      | three ConvTranspose 5x5/2, 128, LeakyReLU
      | ConvTranspose 5x5/2, 3, linear      -> (B, 352, 640, 3)     the reconstruction, pixel values 0..255

Source: Nami et al., "Lightweight Multitask Learning for Robust JND Prediction using Latent Space and Reconstructed
Frames", IEEE TCSVT 2024.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common.core import keras
from common.media.formats import TCSVT
from common.models.registry import ModelSpec, Output

FILTERS = 128
LATENT_FILTERS = 192
SLOPE = 0.05  # of the LeakyReLU
TARGETS = ("Img", "JND1", "JND2", "JND3")
"""What the weight files of this network reconstruct, TARGETReconstruction.h5."""


def build_autoencoder(inputs: Any = None, *, shape: tuple = TCSVT.shape, prefix: str = "") -> Any:
    """The autoencoder as a Keras model, freshly initialised: 2,887,363 parameters.

    Args:
        inputs: a Keras tensor (B, H, W, 3) to build on, so that several autoencoders can read one image; by default a
            new input of `shape`.  H and W are multiples of 16, or None: the network is fully convolutional.
        prefix: stands before each layer's name, to tell several autoencoders in one model apart.

    Returns:
        The model; its output is the reconstruction, `latent(autoencoder)` the tensor in the middle.

    Example:
        >>> autoencoder = build_autoencoder()
        >>> autoencoder.predict(images).shape     # images: float32 (2, 352, 640, 3), B, G, R, 0..255
        (2, 352, 640, 3)
    """
    if inputs is None:
        inputs = keras.Input(shape, name=f"{prefix}picture")
    x = inputs
    for stage in (1, 2, 3):
        x = _conv(FILTERS, f"{prefix}encoder_conv_{stage}")(x)
        x = keras.layers.LeakyReLU(negative_slope=SLOPE, name=f"{prefix}encoder_leaky_{stage}")(x)
    # (B, H/8, W/8, 128) -> (B, H/16, W/16, 192)
    x = _conv(LATENT_FILTERS, f"{prefix}latent", gain=1)(x)
    for stage in (1, 2, 3):
        x = _deconv(FILTERS, f"{prefix}decoder_deconv_{stage}")(x)
        x = keras.layers.LeakyReLU(negative_slope=SLOPE, name=f"{prefix}decoder_leaky_{stage}")(x)
    # (B, H/2, W/2, 128) -> (B, H, W, 3)
    x = _deconv(3, f"{prefix}reconstruction", gain=1, dtype="float32")(x)
    return keras.Model(inputs, x, name=f"{prefix}autoencoder")


def latent(autoencoder: Any) -> Any:
    """The latent of an autoencoder as a Keras tensor, (B, H/16, W/16, 192), linear."""
    return next(layer for layer in autoencoder.layers if layer.name.endswith("latent")).output


def new_reconstruction(autoencoder: Any, name: str) -> Any:
    """An image output like the autoencoder's, by a new last layer called `name` with Keras's default start."""
    x = next(layer for layer in autoencoder.layers if layer.name.endswith("decoder_leaky_3")).output
    return keras.layers.Conv2DTranspose(3, 5, strides=2, padding="same", name=name, dtype="float32")(x)


def _conv(filters: int, name: str, gain: int = 2) -> Any:
    start = _initial(gain, transposed=False)
    return keras.layers.Conv2D(filters, 5, strides=2, padding="same", kernel_initializer=start, name=name)


def _deconv(filters: int, name: str, gain: int = 2, dtype: str | None = None) -> Any:
    start, deconv = _initial(gain, transposed=True), keras.layers.Conv2DTranspose
    return deconv(filters, 5, strides=2, padding="same", kernel_initializer=start, name=name, dtype=dtype)


def _initial(gain: int, transposed: bool) -> Any:
    """A random start that keeps the scale of its input through the LeakyReLU (gain 2) or nothing (gain 1) behind it.

    How the papers' autoencoders started is not known; from Keras's default start they learn many times slower.
    """
    # A stride of 2 leaves each output of a transposed convolution a quarter of the kernel's taps, and Keras calls the
    # inputs of its kernel, (height, width, outputs, inputs), fan-out.
    scale, mode = (4 * gain, "fan_out") if transposed else (gain, "fan_in")
    return keras.initializers.VarianceScaling(scale, mode)


@dataclass(frozen=True)
class Defaults:
    """Ours; the papers name none."""

    epochs: int = 300
    batch_size: int = 8
    learning_rate: float = 1e-4


def autoencoder_spec(target: str, start: Callable[[Any], None] | None = None) -> ModelSpec:
    """The autoencoder of one of TARGETS as a model like the others, which no registry lists.

    Args:
        start: sets the weights of a new one, as `dct_start.start_from_dct` does, instead of a random start.
    """

    def build(shape):
        autoencoder = build_autoencoder(shape=shape)
        if start:
            start(autoencoder)
        return autoencoder

    name, level = f"{target}Reconstruction", None if target == "Img" else target
    kind = "image" if level is None else "frame"
    return ModelSpec(
        name=name,
        script=__file__,
        build=build,
        outputs=(Output("reconstruction", kind, level, loss="mse", metrics=("psnr", "ssim")),),
        defaults=Defaults(),
        weights=f"{name}.h5",
        start_files=tuple(f"{other}Reconstruction.h5" for other in TARGETS),
        input=TCSVT,
        checkpoint=f"{name}.h5",
        log=f"logs{name}.csv",
        label=name,
    )
