"""The networks: exact sizes, and the released programs' predictions from weight files in the released layout."""

import numpy as np
import pytest

import LAT
from common.models.autoencoder import build_autoencoder
from common.models.weight_files import load


@pytest.fixture(scope="module")
def autoencoder(weight_files):
    network = build_autoencoder()
    load(network, weight_files / "JND1Reconstruction.h5")
    return network


@pytest.fixture(scope="module")
def lat(weight_files):
    network = LAT.build_model(build_autoencoder())
    load(network, weight_files / "LATJND1.h5")
    return network


def assert_golden(predictions, network, images):
    """Each output of `network` is as golden.json states: its values, or means, deviations and a grid of pixels."""
    outputs = network.predict_on_batch(images)
    for prediction, output in zip(predictions, outputs if isinstance(outputs, list) else [outputs], strict=True):
        assert list(output.shape) == prediction["shape"]
        if "values" in prediction:
            np.testing.assert_allclose(output, prediction["values"], rtol=1e-4)
        else:
            np.testing.assert_allclose(output.mean((1, 2)), prediction["mean"], rtol=1e-4)
            np.testing.assert_allclose(output.std((1, 2)), prediction["std"], rtol=1e-4)
            np.testing.assert_allclose(output[:, ::88, ::160], prediction["grid"], rtol=1e-4, atol=1e-5)


def test_parameter_counts(autoencoder, lat, golden):
    assert autoencoder.count_params() == golden.layouts["Reconstruction"]["parameters"] == 2_887_363
    assert lat.count_params() == golden.layouts["LAT"]["parameters"] == 9_783_225


def test_autoencoder_predicts_as_the_released_program(autoencoder, golden):
    assert_golden(golden.predictions["Reconstruction"]["outputs"], autoencoder, golden.images)


def test_lat_predicts_as_the_released_program(lat, golden):
    assert_golden(golden.predictions["LAT"]["outputs"], lat, golden.images)


def test_the_golden_comparison_sees_swapped_colours(lat, golden):
    with pytest.raises(AssertionError):
        assert_golden(golden.predictions["LAT"]["outputs"], lat, golden.images[..., ::-1])


def test_the_golden_comparison_sees_a_plain_se_block(weight_files, golden, monkeypatch):
    """The papers' name for the attention: the same weight shapes, other predictions."""
    from keras import layers

    from common.models import blocks

    def plain_se(x, name):
        channels = x.shape[-1]
        squeezed = layers.Dense(channels // 8, "relu")(layers.GlobalAveragePooling2D(keepdims=True)(x))
        return layers.Multiply()([x, layers.Dense(channels, "sigmoid")(squeezed)])

    monkeypatch.setattr(blocks, "channel_attention", plain_se)
    network = LAT.build_model(build_autoencoder())
    load(network, weight_files / "LATJND1.h5")
    with pytest.raises(AssertionError):
        assert_golden(golden.predictions["LAT"]["outputs"], network, golden.images)


def test_the_golden_comparison_sees_a_missing_leaky_relu(weight_files, golden, monkeypatch):
    from common.models import autoencoder

    monkeypatch.setattr(autoencoder, "SLOPE", 1.0)  # which leaves everything as it is
    network = LAT.build_model(build_autoencoder())
    load(network, weight_files / "LATJND1.h5")
    with pytest.raises(AssertionError):
        assert_golden(golden.predictions["LAT"]["outputs"], network, golden.images)


def test_the_encoder_is_frozen_and_the_rest_learns(lat):
    frozen = {layer.name for layer in lat.layers if layer.weights and not layer.trainable}
    assert frozen == {"encoder_conv_1", "encoder_conv_2", "encoder_conv_3", "latent"}
