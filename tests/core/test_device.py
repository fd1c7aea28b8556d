"""What is decided by the device that computes, with devices that are not there."""

import os
import subprocess
import sys
from types import SimpleNamespace

import keras
import pytest
import small

from common import load
from common.core import device, keras_backend
from common.core.device import Device
from common.models import inference

CPU = Device()
H100 = Device("gpu", "NVIDIA H100", 80 << 30, (9, 0))
T4 = Device("gpu", "Tesla T4", 16 << 30, (7, 5))
UNKNOWN = Device("gpu", "MI300X")


@pytest.fixture
def framework(monkeypatch):
    """Let Keras seem to run on a backend, made of nested dictionaries."""

    def set_framework(name, **parts):
        for module in (device, keras_backend):
            monkeypatch.setattr(module, "backend_name", lambda: name)
        made = as_namespace(parts)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    return set_framework


def as_namespace(value):
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_namespace(part) for name, part in value.items()})
    return value


def test_torch_is_asked_for_its_card(framework):
    answers = {"get_device_name": lambda: "NVIDIA H100", "mem_get_info": lambda: (80 << 30, 81 << 30)}
    cuda = {"is_available": lambda: True, "get_device_capability": lambda: (9, 0), **answers}
    framework("torch", cuda=cuda)
    assert device.current() == H100
    framework("torch", cuda={"is_available": lambda: False})
    assert device.current() == CPU


@pytest.mark.parametrize(
    ("capability", "stats", "expected"),
    [
        ("9.0", {"bytes_limit": 81 << 30, "bytes_in_use": 1 << 30}, H100),
        ("gfx942", None, UNKNOWN),
    ],
)
def test_jax_is_asked_for_its_card(framework, capability, stats, expected):
    card = SimpleNamespace(
        platform="gpu", device_kind=expected.name, compute_capability=capability, memory_stats=lambda: stats
    )
    framework("jax", local_devices=lambda: [card])
    assert device.current() == expected
    framework("jax", local_devices=lambda: [SimpleNamespace(platform="cpu")])
    assert device.current() == CPU


@pytest.mark.parametrize(
    ("driver", "free"), [("81920\n", 80 << 30), ("81920\n 1024\n", 1 << 30), ("[N/A]", None), (None, None)]
)
def test_tensorflow_is_asked_for_its_card_and_the_driver_for_its_memory(framework, monkeypatch, driver, free):
    def run(command, **_):
        if driver is None:
            raise FileNotFoundError
        return SimpleNamespace(stdout=driver)

    monkeypatch.setattr(subprocess, "run", run)
    details = {"device_name": "NVIDIA H100", "compute_capability": (9, 0)}
    experimental = {"get_device_details": lambda gpu: details}
    framework("tensorflow", config={"get_visible_devices": lambda kind: [object()], "experimental": experimental})
    assert device.current() == H100._replace(free=free)
    framework("tensorflow", config={"get_visible_devices": lambda kind: []})
    assert device.current() == CPU


@pytest.mark.parametrize("computes, layer", [(CPU, "WinogradConvPool"), (T4, "Conv2D")])
def test_our_winograd_layer_is_for_cpus(computes, layer, monkeypatch):
    monkeypatch.setattr(device, "current", lambda: computes)
    image = keras.Input((8, 8, 64))
    x = keras.layers.Conv2D(64, 3, padding="same", name="a_conv")(image)
    x = keras.layers.ReLU(name="a_relu")(keras.layers.BatchNormalization(name="a_norm")(x))
    x = keras.layers.MaxPooling2D(name="a_pool")(x)
    network = inference.for_prediction(keras.Model(image, x), ["a_pool"])
    assert type(network.get_layer("a_conv")).__name__ == layer
    assert not device.uses_winograd(computes, "bfloat16")


def test_a_batch_is_what_fits_on_a_gpu(capsys):
    assert device.batch_size(CPU, 1, on_cpu=2) == 2
    sizes = {gigabytes: device.batch_size(T4, gigabytes << 30, on_cpu=2) for gigabytes in (1, 2, 3, 8, 30)}
    assert sizes == {1: 8, 2: 4, 3: 2, 8: 1, 30: 1}
    assert device.batch_size(H100, 1 << 20, on_cpu=2) == device.LARGEST_BATCH
    assert not capsys.readouterr().err
    assert device.batch_size(UNKNOWN, 1, on_cpu=2) == device.UNKNOWN_BATCH
    assert capsys.readouterr().err == "MI300X: its free memory is unknown; predicts 4 images at once (--batch_size)\n"


def test_a_batch_follows_the_network_and_the_device(small_weights, monkeypatch):
    """What the layers of small.py take for an image: 16 x 16 x 3, 7 x 7 x 4, 196, 8, 8 and 1 values."""
    on_cpu = load(small.SMALL, weights=small_weights, batch_size=None)
    assert on_cpu.batch_size == small.SMALL.test_batch_size
    assert [network.image_bytes for network in on_cpu._networks] == [4 * (768 + 196 + 196 + 8 + 8 + 1)]
    monkeypatch.setattr(device, "current", lambda: T4._replace(free=100_000))
    assert load(small.SMALL, weights=small_weights, batch_size=None).batch_size == 8
    assert load(small.SMALL, weights=small_weights).batch_size == 1


def test_decoding_takes_all_cores_beside_a_gpu(monkeypatch):
    monkeypatch.setattr(device.threads, "CORES", 16)
    assert device.loaders(CPU) == (8, 4) and device.loaders(H100) == (16, 16)


@pytest.mark.parametrize(
    ("computes", "precision", "tf32", "advice"),
    [
        (CPU, "float32", True, ""),
        (T4, "float32", True, ""),
        (UNKNOWN, "float32", True, ""),
        (H100, "mixed_bfloat16", True, ""),
        (H100, "float32", False, "NVIDIA H100: --precision mixed_bfloat16 takes less time and memory"),
        (H100, "float32", True, "NVIDIA H100 rounds the factors of float32 products to 10 bits (TF32; --tf32 off "),
    ],
)
def test_a_training_hears_of_tf32_and_bfloat16(computes, precision, tf32, advice):
    assert device.training_advice(computes, precision, tf32).startswith(advice)
    assert bool(device.training_advice(computes, precision, tf32)) == bool(advice)


def test_tf32_is_on_in_a_training_and_off_in_predictions(small_weights, rootdir, tmp_path, monkeypatch, capsys):
    tensorflow = sys.modules["tensorflow"].config.experimental
    assert not tensorflow.tensor_float_32_execution_enabled()
    load(small.SMALL, weights=small_weights, tf32="on")
    assert tensorflow.tensor_float_32_execution_enabled()
    load(small.SMALL, weights=small_weights)
    assert not tensorflow.tensor_float_32_execution_enabled()
    seen = []

    def loss(true, predicted):
        seen.append(tensorflow.tensor_float_32_execution_enabled())
        return keras.losses.mean_absolute_error(true, predicted)

    monkeypatch.setattr(device, "current", lambda: H100)
    settings = {"loss": loss, "epochs": 1, "feature_cache": "off"}
    small.train(rootdir, tmp_path / "on", **settings)
    assert "NVIDIA H100 rounds" in capsys.readouterr().err
    assert seen[-1] and not tensorflow.tensor_float_32_execution_enabled()
    small.train(rootdir, tmp_path / "off", tf32="off", **settings)
    assert "NVIDIA H100: --precision" in capsys.readouterr().err and not seen[-1]


def test_tf32_of_the_other_backends(framework):
    changed = {}
    framework("jax", config={"update": changed.__setitem__})
    keras_backend.allow_tf32(False)
    assert changed == {"jax_default_matmul_precision": "float32"}
    keras_backend.allow_tf32(True)
    assert changed == {"jax_default_matmul_precision": None}
    torch = framework("torch", backends={"cuda": {"matmul": {}}, "cudnn": {}}).backends
    for allowed in (False, True):
        keras_backend.allow_tf32(allowed)
        assert torch.cuda.matmul.allow_tf32 == torch.cudnn.allow_tf32 == allowed


def test_tensorflow_takes_memory_as_it_needs_it():
    keras_backend.load_keras()
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"


def test_a_full_card_is_no_traceback():
    class OutOfMemoryError(Exception):
        """PyTorch's."""

    assert device.is_out_of_memory(OutOfMemoryError())
    assert device.is_out_of_memory(RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"))
    assert device.is_out_of_memory(RuntimeError("UNKNOWN: no convolution algorithm; RESOURCE_EXHAUSTED: Out of memory"))
    assert not device.is_out_of_memory(RuntimeError("another"))
