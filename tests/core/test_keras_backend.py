"""Keras as it is configured here, whatever the user's files and environment say."""

import json
import logging
import sys

import keras
import pytest

from common.core import keras as our_keras
from common.core import keras_backend
from common.core.errors import UserError

OURS = ("tensorflow", "channels_last", "float32", 1e-7, "float32")


def configuration():
    config = keras.config
    return config.backend(), config.image_data_format(), config.floatx(), config.epsilon(), config.dtype_policy().name


def test_the_users_keras_json_changes_nothing(run, tmp_path):
    theirs = {"backend": "jax", "image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.1}
    (tmp_path / "keras.json").write_text(json.dumps(theirs))
    program = """
from common.core.keras_backend import load_keras
load_keras()
import keras
from common.models.autoencoder import build_autoencoder
config = keras.config
print([config.backend(), config.image_data_format(), config.floatx(), config.epsilon(), config.dtype_policy().name])
network = build_autoencoder(shape=(32, 64, 3))
print(network.layers[1].compute_dtype, network.output.shape, network.count_params())
"""
    done = run("-c", program, KERAS_HOME=str(tmp_path), KERAS_BACKEND="")
    assert done.stdout.splitlines() == [str(list(OURS)), "float32 (None, 32, 64, 3) 2887363"], done.stderr


@pytest.mark.parametrize("given, name", [("", "tensorflow"), (" TensorFlow", "tensorflow"), ("JAX ", "jax")])
def test_the_case_of_a_backends_name_does_not_matter(monkeypatch, given, name):
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setenv("KERAS_BACKEND", given)
    assert keras_backend.backend_name() == name


def test_what_a_notebook_has_set_changes_nothing(monkeypatch):
    monkeypatch.setattr(keras_backend, "loaded", False)
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float16")
    keras.config.set_epsilon(0.1)
    keras.config.set_dtype_policy("mixed_float16")
    assert our_keras.layers is keras.layers and configuration() == OURS


def test_tensorflow_says_nothing_of_retracing():
    keras_backend.load_keras()
    assert not logging.getLogger("tensorflow").isEnabledFor(logging.WARNING)


def test_another_backend_comes_too_late():
    with pytest.raises(UserError, match="Keras runs on tensorflow already; choose jax before anything else"):
        keras_backend.use_backend("jax")
