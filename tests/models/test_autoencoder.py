"""The autoencoder's start as a block transform."""

import keras
import numpy as np
import pytest
import skimage

from common.models.autoencoder import build_autoencoder
from common.models.dct_start import start_from_dct


@pytest.mark.parametrize("photograph", ["astronaut", "coffee"])
def test_a_block_transform_reconstructs_photographs_without_training(photograph):
    image = getattr(skimage.data, photograph)()[:288, :384, ::-1].astype("float32")
    autoencoder = build_autoencoder(shape=image.shape)

    def psnr():
        return skimage.metrics.peak_signal_noise_ratio(
            image, autoencoder.predict(image[None], verbose=0)[0], data_range=255
        )

    assert psnr() < 20
    start_from_dct(autoencoder)
    assert psnr() > 32
    assert autoencoder.count_params() == 2_887_363


def test_channels_that_no_coefficient_needs_can_learn():
    """What they give is not read at first, but the weights that read it have a gradient."""
    keras.utils.set_random_seed(0)
    autoencoder = build_autoencoder(shape=(64, 64, 3))
    start_from_dct(autoencoder)
    before = autoencoder.get_layer("encoder_conv_2").get_weights()[0]
    assert not before[:, :, 24:].any()
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    autoencoder.compile(keras.optimizers.SGD(1e-9), "mse")
    autoencoder.train_on_batch(images, images)
    assert autoencoder.get_layer("encoder_conv_2").get_weights()[0][:, :, 24:].any()
