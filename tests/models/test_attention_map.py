"""The attention decoder, its loss and its metrics."""

import keras
import numpy as np
import pytest
from PIL import Image
from skimage import data

from common.data.saliency import saliency
from common.models import attention_decoder, losses
from common.models.attention_decoder import (
    build_attention_decoder,
    correlation,
    kl_divergence,
    similarity,
)


@pytest.fixture(scope="module")
def vgg():
    return keras.applications.VGG16(include_top=False, weights=None, input_shape=(270, 480, 3))


def test_the_tail(vgg):
    names = [layer.name for layer in vgg.layers]
    output = build_attention_decoder(vgg)
    assert output.shape == (None, *attention_decoder.SIZE, 1) and output.dtype == "float32"
    training = keras.Model(vgg.input, [vgg.output, output])
    assert training.output_names[1] == "VA_output"
    tail = [layer for layer in training.layers if layer not in vgg.layers]
    assert all(layer.name.lower().startswith("va_") for layer in tail)
    # Three reductions, two 3x3 convolutions, the logits; a scale and an offset a channel.
    expected = (256 + 512 + 512) * 64 + 9 * (192 + 64) * 64 + 5 * 2 * 64 + 65
    assert sum(layer.count_params() for layer in tail) == expected == 230_081
    assert [layer.name for layer in vgg.layers] == names  # as it was: without the tail it is what is saved

    images = np.random.default_rng(0).random((2, 270, 480, 3), np.float32)
    maps = keras.Model(vgg.input, output).predict_on_batch(images)
    assert maps.min() >= 0 and maps.sum(axis=(1, 2, 3)) == pytest.approx([1, 1], abs=1e-5)
    assert maps.max() < 2 / np.prod(attention_decoder.SIZE)  # training starts near the flat map


def test_the_tail_asks_how_places_compare():
    """What all places of a channel share, and its scale, do not matter; VGG16's features differ little on 0..1."""
    shapes = {"block3_pool": (12, 16, 256), "block4_conv3": (12, 16, 512), "block5_conv3": (6, 8, 512)}
    inputs = [keras.Input(shape) for shape in shapes.values()]
    outputs = [keras.layers.Activation("linear", name=name)(x) for name, x in zip(shapes, inputs)]
    tail = keras.Model(inputs, build_attention_decoder(keras.Model(inputs, outputs)))
    random = np.random.default_rng(0)
    features = [random.random((2, *shape), np.float32) for shape in shapes.values()]
    shifted = [0.1 * feature + random.random(feature.shape[-1], np.float32) for feature in features]
    maps = tail.predict_on_batch(features)
    assert maps.shape == (2, 12, 16, 1)
    assert tail.predict_on_batch(shifted) == pytest.approx(maps, rel=1e-3)
    assert tail.predict_on_batch([feature[:1] for feature in features]) == pytest.approx(maps[:1], rel=1e-3)


def on(true, predicted, function):
    """`function` of maps given as lists of rows, for one image."""
    maps = (np.array(values, np.float32)[None, ..., None] for values in (true, predicted))
    values = keras.ops.convert_to_numpy(function(*maps))
    assert values.shape == (1,)
    return values[0]


def test_metrics_by_hand():
    true, predicted = [[0.5, 0.5], [0, 0]], [[0.25, 0.25], [0.25, 0.25]]
    assert on(true, predicted, kl_divergence) == pytest.approx(np.log(2), abs=1e-5)
    assert on(predicted, true, kl_divergence) == pytest.approx(0.5 * np.log(0.5) + 0.5 * np.log(0.25 / 1e-7), rel=1e-4)
    assert on(true, predicted, similarity) == pytest.approx(0.5)
    assert on(true, predicted, correlation) == 0  # flat
    assert on(true, [[0.1, 0.1], [0.4, 0.4]], correlation) == pytest.approx(-1)
    assert on([[0.4, 0.3], [0.2, 0.1]], [[0.3, 0.4], [0.1, 0.2]], correlation) == pytest.approx(0.6)
    assert on([[0.4, 0.3], [0.2, 0.1]], [[0.3, 0.4], [0.1, 0.2]], similarity) == pytest.approx(0.8)


def test_metrics_of_a_map_with_itself():
    maps = np.random.default_rng(0).random((3, 33, 60, 1)).astype(np.float32) ** 4
    maps /= maps.sum(axis=(1, 2, 3), keepdims=True)
    for function, value in ((kl_divergence, 0), (correlation, 1), (similarity, 1)):
        assert np.asarray(function(maps, maps)) == pytest.approx(np.full(3, value), abs=1e-5)
    assert [float(metric(maps, maps)) for metric in map(losses.metric, ("CC", "KLD", "SIM"))] == pytest.approx(
        [1, 0, 1], abs=1e-5
    )


def test_metrics_are_the_mean_over_images_and_against_numpy():
    true, predicted = np.random.default_rng(0).random((2, 4, 6, 7, 1)).astype(np.float32)
    true, predicted = (maps / maps.sum(axis=(1, 2, 3), keepdims=True) for maps in (true, predicted))
    rows = list(zip(true.reshape(4, -1), predicted.reshape(4, -1)))
    expected = {
        "CC": np.mean([np.corrcoef(a, b)[0, 1] for a, b in rows]),
        "KLD": np.mean([(a * np.log(a / b)).sum() for a, b in rows]),
        "SIM": np.mean([np.minimum(a, b).sum() for a, b in rows]),
    }
    for metric in map(losses.metric, ("CC", "KLD", "SIM")):
        metric.update_state(true[:1], predicted[:1])
        metric.update_state(true[1:], predicted[1:])
        assert float(metric.result()) == pytest.approx(expected[metric.name], abs=1e-4)


def test_training_lowers_the_divergence():
    """The tail on a small VGG16, beside a level that weighs nothing here: the tail alone moves what both share."""
    keras.utils.set_random_seed(0)
    vgg = keras.applications.VGG16(include_top=False, weights=None, input_shape=(64, 96, 3))
    for layer in vgg.layers:
        layer.trainable = layer.name.startswith("block5")  # quicker
    pooled = keras.layers.GlobalAveragePooling2D()(vgg.output)
    level = keras.layers.Dense(1, name="JND_output")(pooled)
    training = keras.Model(vgg.input, [level, build_attention_decoder(vgg)])
    training.compile(
        keras.optimizers.Adam(1e-3),
        loss={"JND_output": "mae", "VA_output": kl_divergence},
        loss_weights={"JND_output": 0.0, "VA_output": 1.0},
        metrics={"VA_output": [losses.metric(name) for name in ("CC", "KLD", "SIM")]},
    )
    photographs = [data.coffee()[:320, :480], data.chelsea()[:300, :450]]
    sized = [np.asarray(Image.fromarray(photograph).resize((96, 64))) for photograph in photographs]
    images = np.stack(sized).astype(np.float32) / 255
    maps = np.stack([saliency(image)[4::8, 4::8, None] for image in sized])
    maps /= maps.sum(axis=(1, 2, 3), keepdims=True)
    shared = vgg.get_layer("block5_conv3").kernel.numpy()
    targets = [np.array([[25.0], [30.0]]), maps]
    history = training.fit(images, targets, batch_size=2, epochs=12, verbose=0).history
    divergence, cc, sim = (history[f"VA_output_{name}"] for name in ("KLD", "CC", "SIM"))
    assert divergence[-1] < 0.7 * divergence[0] and cc[-1] > cc[0] + 0.2 and sim[-1] > sim[0]
    assert history["loss"] == pytest.approx(divergence)
    assert np.abs(vgg.get_layer("block5_conv3").kernel.numpy() - shared).max() > 0
    only_level = keras.Model(vgg.input, level)
    assert not [layer.name for layer in only_level.layers if layer.name.lower().startswith("va_")]
