"""What the programs do alike before a network starts: read the data, check where results go, start Keras."""

import contextlib
import os
import sys
import tempfile
from importlib.metadata import version

from common.core.errors import UserError


def use_backend(name):
    """Choose Keras's backend, before Keras is imported; raises UserError when it is too late for another one."""
    if "keras" in sys.modules and sys.modules["keras"].config.backend() != name:
        running = sys.modules["keras"].config.backend()
        raise UserError(f"Keras runs on {running} already; choose {name} before anything else that uses Keras")
    os.environ["KERAS_BACKEND"] = name


def load_keras(training=False, cpus=1, threads=None, lean=False):
    """Import Keras and its backend without TensorFlow's start-up chatter, which no setting of its own silences.

    Called once everything is checked that can be checked without, so that a mistake costs nobody these seconds.
    training: or exporting, which TensorFlow alone does.
    cpus: how many devices TensorFlow makes of the CPU, which cannot be changed later.
    threads: how many compute, by default one a core.
    lean: without what Keras has for tables, plots and videos, a sixth of the time; for programs that only predict.
    Raises UserError where KERAS_BACKEND names a backend that is not there, or none for `training`.
    """
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if training and backend != "tensorflow":
        raise UserError(
            f"KERAS_BACKEND={backend}: predicts only; unset KERAS_BACKEND to train or export, on TensorFlow"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if threads:
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(threads)
    if not training:
        # Side by side, the branches of a network compete for cores and hold memory: MJ-REC's three stems 500 MB.
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    if backend == "openvino" and tuple(map(int, version("keras").split(".")[:2])) < (3, 13):
        raise UserError(f"backend openvino: Keras {version('keras')} lacks layers; install 3.13 or later")
    try:
        with silent_stderr():
            with hidden(*(("cv2", "matplotlib", "pandas") if lean else ())):
                import keras

            if cpus > 1:
                import tensorflow as tf

                parts = [tf.config.LogicalDeviceConfiguration()] * cpus
                with contextlib.suppress(RuntimeError):  # TensorFlow runs already; who needs a missing one says so
                    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
            keras.ops.zeros(1)  # finds the devices
            if backend != "tensorflow":
                # Keras would import it, seconds long, to see whether an object is one of TensorFlow's, and notes here
                # that there is none.
                with hidden("tensorflow"):
                    keras.utils.serialize_keras_object(keras.DTypePolicy("float32"))
    except (ImportError, ValueError) as error:
        if backend == "tensorflow":
            raise
        advice = "install it, or choose another (--backend, $KERAS_BACKEND)"
        raise UserError(f"backend {backend}: {error}; {advice}") from None


@contextlib.contextmanager
def hidden(*packages):
    """Let imports find none of these packages, where they have not been imported already."""
    packages = [package for package in packages if package not in sys.modules]
    sys.modules.update(dict.fromkeys(packages))
    try:
        yield
    finally:
        for package in packages:
            del sys.modules[package]


@contextlib.contextmanager
def silent_stderr():
    """Hold back what is written to the process's stderr, native libraries included; show it if the block raises."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except (OSError, UserError):  # which say all in a line
            raise
        except Exception:
            os.dup2(original, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
