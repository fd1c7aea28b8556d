"""Keras, imported at the first use of something in it, so that `--help` and mistakes do not wait for it.

>>> from common.core import keras
>>> keras.layers.Flatten()                                 # here it is imported, and configured by keras_backend
"""

import importlib
from typing import Any

from common.core import keras_backend


def __getattr__(name: str) -> Any:
    if not keras_backend.loaded:  # a notebook may have imported Keras, and configured it otherwise
        keras_backend.load_keras()
    return getattr(importlib.import_module("keras"), name)
