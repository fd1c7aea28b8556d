"""Keras, imported at the first use of something in it, so that `--help` and mistakes do not wait for it.

>>> from common.core import keras
>>> keras.layers.Flatten()                                 # here it is imported, and configured by keras_backend
"""

import importlib
import sys
from typing import Any

from common.core.keras_backend import load_keras


def __getattr__(name: str) -> Any:
    if "keras" not in sys.modules:
        load_keras()
    return getattr(importlib.import_module("keras"), name)
