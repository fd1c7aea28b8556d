"""The loop around `fit`: what each training does alike, whichever network it trains."""

import os
import sys
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from common import dataset, metrics, weights
from common.autoencoder import build_autoencoder
from common.batches import Batches
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
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    callbacks = [best, keras.callbacks.CSVLogger(str(log), separator=";", append=True)]
    verbose = 1 if sys.stdout.isatty() else 2  # a bar for a person, a line an epoch for a file
    model.fit(train, validation_data=valid, epochs=epochs, callbacks=callbacks, shuffle=False, verbose=verbose)
    return best


def read_splits(data_dir, names, **how):
    """common.dataset.read_splits with a progress bar, its warnings printed: {name: Split}."""
    with tqdm(unit="picture", desc="checking pictures", disable=None, leave=False) as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        splits, warnings = dataset.read_splits(data_dir, names, progress=progress, **how)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return splits


def refuse_to_overwrite(path, overwrite):
    """Raise UserError when a training would replace the best weights of an earlier one without being told to."""
    if Path(path).exists() and not overwrite:
        raise UserError(f"{path}: exists, from an earlier training; give another folder, or --overwrite to replace it")


def check_writable(*folders):
    """Raise UserError now, not after the first epoch, when a folder cannot be made or written."""
    for folder in map(Path, folders):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: this folder cannot be made ({error.strerror}); give another one") from None
        if not os.access(folder, os.W_OK):
            raise UserError(f"{folder}: this folder cannot be written to; give another one")


def build_backbones(variant, level, path=None):
    """The autoencoders that a variant stands on; with `path`, their weights from that file or folder."""
    names = [name.format(level=level) for name in variant.backbones]
    prefixes = [f"jnd{number}_" for number in range(1, len(names) + 1)] if len(names) > 1 else [""]
    backbones = [build_autoencoder(prefix=prefix) for prefix in prefixes]
    if path is not None:
        what = f"{variant.name}'s autoencoder"
        for name, backbone in zip(names, backbones):
            weights.load(backbone, weights.find(path, [name], what), what)
    return backbones


def train(variant, options):
    """`SCRIPT.py train`: train `variant` on the pictures of a rootdir and keep the best epoch."""
    level = options.level
    checkpoint = Path(options.checkpoint_path) / variant.checkpoint_name(level)
    log = Path(options.csv_log_path) / variant.log_name(level)
    refuse_to_overwrite(checkpoint, options.overwrite)
    splits = read_splits(options.data_dir, ("train", "valid"), scale=options.label_unit)
    keras.utils.set_random_seed(options.seed)
    model = variant.build(*build_backbones(variant, level, options.backbone_path))
    check_writable(checkpoint.parent, log.parent)

    def batches(split, **how):
        targets = [split.levels[:, level - 1 : level]]
        return Batches(variant.input, split.pictures, targets, options.batch_size, **how)

    if options.output_bias == "mean":
        start_at(model, {"JND_output": splits["train"].levels[:, level - 1].mean()})
    model.compile(keras.optimizers.Adam(options.learning_rate), loss="mae")
    best = fit(
        model,
        batches(splits["train"], shuffle_seed=options.seed),
        batches(splits["valid"]),
        checkpoint=checkpoint,
        log=log,
        epochs=options.epochs,
    )
    floor = metrics.median_floor(splits["train"].levels[:, level - 1], splits["valid"].levels[:, level - 1])
    print(
        f"best epoch {best.epoch} of {options.epochs}: error on valid {best.loss:.2f} {options.label_unit}; "
        f"always answering the training median gives {floor:.2f}\nweights: {checkpoint}\nlog: {log}"
    )
    return 0


def start_at(model, means):
    """Let each output start at its mean training label: a ReLU unit that starts below zero never learns."""
    for name, mean in means.items():
        model.get_layer(name).bias.assign([mean])
