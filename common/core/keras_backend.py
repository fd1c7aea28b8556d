"""Keras is chosen, started and configured here, whatever the user's keras.json, environment or notebook say."""

import contextlib
import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from common.core import messages, startup
from common.core.errors import UserError

PREDICT_ONLY = ("openvino", "numpy")
"""Backends that have no gradients."""

loaded = False
"""Whether `load_keras` has run."""


def backend_name() -> str:
    """The backend that Keras runs on, or will: $KERAS_BACKEND, by default TensorFlow."""
    if "keras" in sys.modules:
        return sys.modules["keras"].config.backend()
    return os.environ.get("KERAS_BACKEND", "").strip().lower() or "tensorflow"


def use_backend(name: str) -> None:
    """Choose Keras's backend; raises UserError where Keras runs on another one already."""
    if "keras" in sys.modules and backend_name() != name:
        raise UserError(f"Keras runs on {backend_name()} already; choose {name} before anything else that uses Keras")
    os.environ["KERAS_BACKEND"] = name


def load_keras(
    training: bool = False, cpus: int = 1, threads: int | None = None, lean: bool = False, tf32: bool = False
) -> None:
    """Import Keras and its backend, without TensorFlow's start-up messages, and configure it for all our networks.

    Call it when everything is checked that can be checked before, so that no mistake costs the user these seconds.

    Args:
        training: whether to train, which not every backend does, or to export.
        cpus: how many devices TensorFlow makes of the CPU; this cannot be changed later.
        threads: how many threads compute; by default one a core.
        lean: import Keras without its support of tables, plots and videos, which saves a sixth of the time; for
            programs that only predict.
        tf32: as in `allow_tf32`.
    Raises:
        UserError: where KERAS_BACKEND names a backend that is not installed, or that cannot do what is asked.
    """
    global loaded
    startup.settle()
    backend = backend_name()
    os.environ["KERAS_BACKEND"] = backend  # empty or missing, keras.json would decide
    if training and backend in PREDICT_ONLY:
        raise UserError(f"KERAS_BACKEND={backend}: predicts only; train on tensorflow, the default, jax or torch")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of retracing, which users cannot change
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # by default TensorFlow takes a card's whole memory
    if threads:
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(threads)
    if not training:
        # In parallel, the branches of a network compete for cores and hold memory: MJ-REC's three stems 500 MB.
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    try:
        with silent_stderr():
            hidden = ("cv2", "matplotlib", "pandas") if lean else () if has_pyplot() else ("matplotlib",)
            with hide_packages(*hidden), startup.hidden_keras_json():
                import keras
            # Where VGG16's weights lie, which the folder that hid keras.json decided.
            vars(importlib.import_module("keras.src.backend.config"))["_KERAS_DIR"] = str(startup.keras_home())
            # The networks and the released weights are made for these; keras.json may say otherwise.
            keras.config.set_image_data_format("channels_last")
            keras.config.set_floatx("float32")
            keras.config.set_epsilon(1e-7)
            keras.config.set_dtype_policy("float32")
            if cpus > 1:
                import tensorflow as tf

                parts = [tf.config.LogicalDeviceConfiguration()] * cpus
                with contextlib.suppress(RuntimeError):  # TensorFlow runs already; who needs a missing one says so
                    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
            keras.ops.zeros(1)  # finds the devices
            allow_tf32(tf32)
            if backend != "tensorflow":
                # Keras imports TensorFlow, which takes seconds, to see whether an object is one of its own.  This
                # first call notes that there is none.
                with hide_packages("tensorflow"):
                    keras.utils.serialize_keras_object(keras.DTypePolicy("float32"))
    except (ImportError, ValueError) as error:
        if backend == "tensorflow":
            raise
        advice = "install it, or choose another (--backend, $KERAS_BACKEND)"
        raise UserError(f"backend {backend}: {error}; {advice}") from None
    loaded = True
    messages.detail(f"Keras {keras.__version__} on {backend} {sys.modules[backend].__version__}")


def allow_tf32(allowed: bool) -> None:
    """Let GPUs round the factors of float32 products to TF32's 10 bits, or not, in the whole process from now on.

    With them golden equality at 1e-4 cannot hold.  CPUs have no TF32.
    """
    framework: Any = sys.modules.get(backend_name())
    if backend_name() == "tensorflow":
        framework.config.experimental.enable_tensor_float_32_execution(allowed)
    elif backend_name() == "jax":
        framework.config.update("jax_default_matmul_precision", None if allowed else "float32")
    elif backend_name() == "torch":
        framework.backends.cuda.matmul.allow_tf32 = framework.backends.cudnn.allow_tf32 = allowed


def has_pyplot() -> bool:
    """Return whether matplotlib.pyplot, which Keras imports, can be: not where $MPLBACKEND names what is not there."""
    try:
        startup.import_matplotlib()
        importlib.import_module("matplotlib.pyplot")
    except Exception:  # whatever a backend may raise
        return False
    return True


@contextlib.contextmanager
def hide_packages(*names: str) -> Iterator[None]:
    """Let imports in the block find none of these packages; those that are imported already stay."""
    hidden: dict[str, Any] = {name: None for name in names if name not in sys.modules}
    sys.modules.update(hidden)  # None makes the import system raise ModuleNotFoundError
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Hold back what the process writes to stderr, also by native libraries; show it if the block raises.

    A UserError and an OSError say everything in their own line, so that nothing else is shown.
    """
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except (OSError, UserError):
            raise
        except Exception:
            os.dup2(original, 2)
            held_back.seek(0)
            os.write(2, held_back.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
