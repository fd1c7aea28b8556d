import time

import keras
import numpy as np
import pytest
from PIL import Image
from skimage import data

from common.core.errors import UserError
from common.data import attention_maps, dataset
from common.data.saliency import saliency
from common.media.images import read_image, write_png
from common.models import attention_decoder, losses
from common.models.attention_decoder import (
    build_attention_decoder,
    correlation,
    kl_divergence,
    similarity,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two training pictures and a validation picture, photographs, without labels."""
    root = tmp_path_factory.mktemp("root")
    (root / "train").mkdir()
    Image.fromarray(data.coffee()[:270, :480]).save(root / "train" / "img2.jpg", quality=95)
    write_png(root / "train" / "img10.png", data.astronaut()[:180, :320])
    write_png(root / "valid" / "img1.png", data.chelsea()[:180, :320])
    return root


def prepare(run, root, *arguments):
    return run("-m", "common.prepare", "attention", "--data_dir", root, *arguments)


def test_prepare(run, root):
    """Made, kept, made again where one is missing, one's own kept, a broken picture named, all made anew."""
    result = prepare(run, root, "--jobs", 2)
    assert (result.returncode, result.stderr) == (0, "")
    assert "3 attention maps made, 0 were there" in result.stdout and "not measured gaze" in result.stdout
    maps = {path.relative_to(root).as_posix(): path for path in [*root.glob("vatrain/*"), *root.glob("vavalid/*")]}
    assert sorted(maps) == ["vatrain/img10.png", "vatrain/img2.png", "vavalid/img1.png"]
    for name, picture in (("vatrain/img2.png", "train/img2.jpg"), ("vavalid/img1.png", "valid/img1.png")):
        with Image.open(maps[name]) as attention:
            assert attention.mode == "L" and "not measured gaze" in attention.text["Description"]
            expected = saliency(read_image(root / picture))
            assert np.abs(np.asarray(attention) - 255 * expected).max() <= 0.5 + 1e-4

    made = {name: path.read_bytes() for name, path in maps.items()}
    maps["vatrain/img10.png"].unlink()
    (root / "vatrain" / ".part-1234.png").write_bytes(b"half")
    own = np.random.default_rng(0).integers(0, 256, (90, 160), np.uint8)
    maps["vatrain/img2.png"].unlink()
    Image.fromarray(own).save(root / "vatrain" / "img2.bmp")
    Image.fromarray(own).save(maps["vavalid/img1.png"])
    (root / "train" / "broken.png").write_bytes((root / "train" / "img10.png").read_bytes()[:3000])
    result = prepare(run, root)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "train/broken.png" in result.stderr and "left out" in result.stderr
    assert "1 attention maps made, 2 were there, 2 of them not made by this command" in result.stdout
    assert sorted(path.name for path in (root / "vatrain").iterdir()) == ["img10.png", "img2.bmp"]
    assert maps["vatrain/img10.png"].read_bytes() == made["vatrain/img10.png"]
    assert np.array_equal(np.asarray(Image.open(maps["vavalid/img1.png"])), own)

    (root / "train" / "broken.png").unlink()
    result = prepare(run, root, "--overwrite", "--splits", "valid")
    assert result.returncode == 0 and "1 attention maps made, 0 were there" in result.stdout
    assert maps["vavalid/img1.png"].read_bytes() == made["vavalid/img1.png"]
    result = prepare(run, root, "--overwrite")  # a second map of one picture would belong to nobody
    assert result.returncode == 0 and "2 attention maps made, 1 were there, 1 of them not made" in result.stdout
    assert sorted(path.name for path in (root / "vatrain").iterdir()) == ["img10.png", "img2.bmp"]

    train = dataset.read_splits(root, ["train"], labels="optional")[0]["train"]
    distributions, computed = attention_maps.read_maps(train, root, (33, 60))
    assert distributions.shape == (2, 33, 60, 1) and distributions.dtype == np.float32 and computed == 1
    assert np.array_equal(distributions[0], attention_maps.load_map(root / "vatrain" / "img2.bmp", (33, 60)))


def test_prepare_says_what_is_wrong(run, tmp_path):
    result = prepare(run, tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"error: {tmp_path / 'train'}: no pictures; expected some, or other --splits\n"
    for name in ("train/a.png", "train/a.bmp"):
        (tmp_path / "train").mkdir(exist_ok=True)
        Image.fromarray(data.astronaut()[:8, :8]).save(tmp_path / name)
    result = prepare(run, tmp_path)
    assert result.returncode == 2 and "a.png: named as a.bmp" in result.stderr and not list(tmp_path.glob("va*"))
    times = []
    for _ in range(3):  # the best of them, since other work may share the machine
        began = time.monotonic()
        assert "not measured gaze" in " ".join(prepare(run, tmp_path, "--help").stdout.split())
        times.append(time.monotonic() - began)
    assert min(times) < 0.5


def test_no_half_map(root, tmp_path, monkeypatch):
    def fail(picture, path, **how):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="No space"):
        attention_maps.make_map(root / "valid" / "img1.png", tmp_path / "img1.png")
    assert not list(tmp_path.iterdir())


def test_a_map_is_loaded_as_a_distribution(tmp_path):
    gray = np.zeros((4, 6), np.uint8)
    gray[0] = (100, 200, 0, 0, 60, 0)
    gray[3, 5] = 40
    Image.fromarray(gray).save(tmp_path / "map.png")
    loaded = attention_maps.load_map(tmp_path / "map.png", (2, 3))
    assert loaded.shape == (2, 3, 1) and loaded.dtype == np.float32
    assert loaded[..., 0] == pytest.approx(np.array([[0.75, 0, 0.15], [0, 0, 0.1]]))
    Image.fromarray(np.repeat(gray[..., None], 3, axis=-1)).save(tmp_path / "rgb.bmp")  # gray, stored as colour
    assert np.array_equal(attention_maps.load_map(tmp_path / "rgb.bmp", (2, 3)), loaded)
    enlarged = attention_maps.load_map(tmp_path / "map.png", (8, 12))  # smaller than the network's
    assert enlarged.sum() == pytest.approx(1) and enlarged[:2, :2, 0] == pytest.approx(np.full((2, 2), 100 / 400 / 4))


def test_maps_that_are_none(tmp_path):
    Image.fromarray(np.zeros((9, 16), np.uint8)).save(tmp_path / "black.png")
    Image.fromarray(data.astronaut()).save(tmp_path / "colour.png")
    (tmp_path / "text.png").write_text("not a picture")
    for name, problem in (
        ("black", "all black"),
        ("colour", "in colour"),
        ("text", "not a picture"),
        ("gone", "no such file"),
    ):
        with pytest.raises(UserError, match=rf"{name}\.png: .*{problem}"):
            attention_maps.load_map(tmp_path / f"{name}.png", (33, 60))
        assert not attention_maps.is_computed(tmp_path / f"{name}.png")


def test_missing_maps_are_named(root, tmp_path):
    train = dataset.read_splits(root, ["train"], labels="optional")[0]["train"]
    with pytest.raises(UserError, match="vatrain: no such folder.*common.prepare attention --data_dir"):
        attention_maps.read_maps(train, tmp_path, (33, 60))
    (tmp_path / "vatrain").mkdir()
    Image.fromarray(np.full((9, 16), 7, np.uint8)).save(tmp_path / "vatrain" / "img2.png")
    with pytest.raises(UserError, match="img10.png"):
        attention_maps.read_maps(train, tmp_path, (33, 60))


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

    pictures = np.random.default_rng(0).random((2, 270, 480, 3), np.float32)
    maps = keras.Model(vgg.input, output).predict_on_batch(pictures)
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
    """`function` of maps given as lists of rows, for one picture."""
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


def test_metrics_are_the_mean_over_pictures_and_against_numpy():
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
    pictures = np.stack(sized).astype(np.float32) / 255
    maps = np.stack([saliency(picture)[4::8, 4::8, None] for picture in sized])
    maps /= maps.sum(axis=(1, 2, 3), keepdims=True)
    shared = vgg.get_layer("block5_conv3").kernel.numpy()
    targets = [np.array([[25.0], [30.0]]), maps]
    history = training.fit(pictures, targets, batch_size=2, epochs=12, verbose=0).history
    divergence, cc, sim = (history[f"VA_output_{name}"] for name in ("KLD", "CC", "SIM"))
    assert divergence[-1] < 0.7 * divergence[0] and cc[-1] > cc[0] + 0.2 and sim[-1] > sim[0]
    assert history["loss"] == pytest.approx(divergence)
    assert np.abs(vgg.get_layer("block5_conv3").kernel.numpy() - shared).max() > 0
    only_level = keras.Model(vgg.input, level)
    assert not [layer.name for layer in only_level.layers if layer.name.lower().startswith("va_")]
