"""The loop around `fit`, the same for every network."""

import sys
from pathlib import Path

import keras
import numpy as np

from common import weights
from common.errors import UserError


class Best(keras.callbacks.Callback):
    """Keep the weights of the epoch with the least `val_loss`, in the released layout; stop when it is no number."""

    def __init__(self, path, kept):
        super().__init__()
        self.path, self.kept, self.loss, self.epoch = Path(path), kept, float("inf"), None

    def on_epoch_end(self, epoch, logs=None):
        # A ReLU makes 0 of NaN, so that the loss may look sound when the weights no longer are.
        sound = np.isfinite([logs["loss"], logs["val_loss"]]).all()
        if not (sound and all(np.isfinite(array).all() for array in self.model.get_weights())):
            kept = f"the best epoch before is kept in {self.path}" if self.epoch else "nothing was saved"
            losses = f"the loss is {logs['loss']}, on valid {logs['val_loss']}"
            numbers = ", but weights are NaN" if sound else ""
            raise UserError(f"epoch {epoch + 1}: {losses}{numbers}; {kept}; lower --learning_rate")
        if logs["val_loss"] < self.loss:
            weights.save(self.kept, self.path)
            self.loss, self.epoch, self.logs = logs["val_loss"], epoch + 1, dict(logs)


def fit(model, train, valid, *, checkpoint, log, epochs, append=True, kept=None):
    """Train a compiled `model` and return the Best callback, which knows the best epoch and what it reached.

    train, valid: Batches.  checkpoint: the weight file of the best epoch.  log: CSV, separator ";", appended to, or
    replaced.  kept: the part of `model` whose weights are saved, by default all of it.
    """
    best = Best(checkpoint, kept or model)
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    callbacks = [best, keras.callbacks.CSVLogger(str(log), separator=";", append=append)]
    verbose = 1 if sys.stdout.isatty() else 2  # a bar for a person, a line an epoch for a file
    try:
        model.fit(train, validation_data=valid, epochs=epochs, callbacks=callbacks, shuffle=False, verbose=verbose)
    except KeyboardInterrupt:
        print(f"\nepoch {best.epoch} is kept in {checkpoint}" if best.epoch else "\nnothing was saved", file=sys.stderr)
        raise
    except OSError as error:  # a full disk; whole_file names its files itself
        raise OSError(error.errno, error.strerror, error.filename or str(log)) from None
    except Exception:
        if error := train.error or valid.error:
            raise error from None
        raise
    return best
