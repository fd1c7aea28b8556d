"""The autoencoder behind every TCSVT model: a picture in, its latent and a reconstructed frame out.

Four weight files fit this one network: `ImgReconstruction.h5` gives the picture back as it was, `JND1Reconstruction.h5`,
`JND2Reconstruction.h5` and `JND3Reconstruction.h5` give the frame as it looks at that JND level.

    picture (B, 352, 640, 3), pixel values 0..255, channel 0 is blue
      | Conv 5x5/2, 128, LeakyReLU          -> (B, 176, 320, 128)
      | Conv 5x5/2, 128, LeakyReLU          -> (B,  88, 160, 128)
      | Conv 5x5/2, 128, LeakyReLU          -> (B,  44,  80, 128)
      | Conv 5x5/2, 192, linear             -> (B,  22,  40, 192)   the latent
      | three ConvTranspose 5x5/2, 128, LeakyReLU
      | ConvTranspose 5x5/2, 3, linear      -> (B, 352, 640, 3)     the reconstruction, pixel values 0..255

Source: Nami et al., "Lightweight Multitask Learning for Robust JND Prediction using Latent Space and Reconstructed
Frames", IEEE TCSVT 2024.
"""
import keras
from keras import layers

FILTERS = 128
LATENT_FILTERS = 192
SLOPE = 0.05  # of the LeakyReLU
SHAPE = (352, 640, 3)


def build_autoencoder(inputs=None, *, shape=SHAPE, prefix=""):
    """The autoencoder as a Keras model, freshly initialised: 2,887,363 parameters.

    inputs: a Keras tensor (B, H, W, 3) to build on, so that several autoencoders can read one picture; by default a new
        input of `shape`.  H and W are multiples of 16, or None: the network is fully convolutional.
    prefix: put before each layer's name, to tell several autoencoders in one model apart.

    The output is the reconstruction; `latent(autoencoder)` is the tensor in the middle.

        >>> autoencoder = build_autoencoder()
        >>> autoencoder.predict(pictures).shape     # pictures: float32 (2, 352, 640, 3), B, G, R, 0..255
        (2, 352, 640, 3)
    """
    if inputs is None:
        inputs = keras.Input(shape, name=f"{prefix}picture")
    x = inputs
    for stage in (1, 2, 3):
        x = layers.Conv2D(FILTERS, 5, strides=2, padding="same", name=f"{prefix}encoder_conv_{stage}")(x)
        x = layers.LeakyReLU(negative_slope=SLOPE, name=f"{prefix}encoder_leaky_{stage}")(x)
    # (B, H/8, W/8, 128) -> (B, H/16, W/16, 192)
    x = layers.Conv2D(LATENT_FILTERS, 5, strides=2, padding="same", name=f"{prefix}latent")(x)
    for stage in (1, 2, 3):
        x = layers.Conv2DTranspose(FILTERS, 5, strides=2, padding="same", name=f"{prefix}decoder_deconv_{stage}")(x)
        x = layers.LeakyReLU(negative_slope=SLOPE, name=f"{prefix}decoder_leaky_{stage}")(x)
    # (B, H/2, W/2, 128) -> (B, H, W, 3)
    x = layers.Conv2DTranspose(3, 5, strides=2, padding="same", name=f"{prefix}reconstruction")(x)
    return keras.Model(inputs, x, name=f"{prefix}autoencoder")


def latent(autoencoder):
    """The latent of an autoencoder as a Keras tensor, (B, H/16, W/16, 192), linear."""
    return next(layer for layer in autoencoder.layers if layer.name.endswith("latent")).output
