"""How a training shows itself while it runs: to a person, to a file, to TensorBoard."""

import time
from typing import Any

import keras
from tqdm import tqdm

from common.core.errors import UserError


class Progress(keras.callbacks.Callback):
    """A bar with losses and the time left for a person, a line an epoch for a file."""

    def __init__(self, run: Any, epochs: int, steps: int):
        super().__init__()
        self.run, self.epochs, self.started = run, epochs, time.monotonic()
        self.bar = tqdm(
            total=epochs * steps,
            initial=run.first * steps,
            unit="step",
            desc=run.training.spec.name,
            disable=None,
            smoothing=0.05,
        )

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update()

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        text = f"loss {logs['loss']:.4g}, valid {logs['val_loss']:.4g}, best {self.run.best.loss:.4g}"
        self.bar.set_postfix_str(f"epoch {epoch + 1}/{self.epochs}: {text}")
        if self.bar.disable:
            spent = time.monotonic() - self.started
            left = spent / (epoch + 1 - self.run.first) * (self.epochs - epoch - 1)
            print(f"epoch {epoch + 1}/{self.epochs}: {text}; {tqdm.format_interval(left)} left", flush=True)

    def on_train_end(self, logs=None):
        self.bar.close()


def tensorboard(folder: Any) -> keras.callbacks.Callback:
    """The callback that writes losses for TensorBoard; raises UserError where that is not installed."""
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise UserError("--tensorboard needs a package that is not installed: pip install tensorboard") from None
    return keras.callbacks.TensorBoard(str(folder))
