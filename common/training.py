"""The loop around `fit`, the same for every network."""

import sys
from pathlib import Path

import keras
import numpy as np

from common import weights
from common.errors import UserError


class Best(keras.callbacks.Callback):
    """Keep the weights of the epoch with the least `val_loss`, in the released layout; stop when it is no number."""

    def __init__(self, path):
        super().__init__()
        self.path, self.loss, self.epoch = Path(path), float("inf"), None

    def on_epoch_end(self, epoch, logs=None):
        if not np.isfinite([logs["loss"], logs["val_loss"]]).all():
            kept = f"the best epoch before is kept in {self.path}" if self.epoch else "nothing was saved"
            losses = f"the loss is {logs['loss']}, on valid {logs['val_loss']}"
            raise UserError(f"epoch {epoch + 1}: {losses}; {kept}; lower --learning_rate")
        if logs["val_loss"] < self.loss:
            weights.save(self.model, self.path)
            self.loss, self.epoch, self.logs = logs["val_loss"], epoch + 1, dict(logs)


def fit(model, train, valid, *, checkpoint, log, epochs):
    """Train a compiled `model` and return the Best callback, which knows the best epoch and what it reached.

    train, valid: Batches.  checkpoint: the weight file of the best epoch.  log: CSV, separator ";", appended to.
    """
    best = Best(checkpoint)
    callbacks = [best, keras.callbacks.CSVLogger(str(log), separator=";", append=True)]
    verbose = 1 if sys.stdout.isatty() else 2  # a bar for a person, a line an epoch for a file
    model.fit(train, validation_data=valid, epochs=epochs, callbacks=callbacks, shuffle=False, verbose=verbose)
    return best
