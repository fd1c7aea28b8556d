"""How a training shows itself while it runs: a progress bar, a line an epoch, curves, TensorBoard."""

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from common.core.errors import UserError
from common.core.messages import note
from common.core.plotting import png_figure
from common.core.terminal import progress


class Progress(keras.callbacks.Callback):
    """A bar with losses and the time left for a person, a line an epoch for a file."""

    def __init__(self, run: Any, epochs: int, steps: int):
        super().__init__()
        self.run, self.epochs, self.started = run, epochs, time.monotonic()
        self.bar = progress(
            total=epochs * steps,
            initial=run.first * steps,
            unit="step",
            desc=run.training.spec.name,
            smoothing=0.05,
        )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.bar.update()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = logs or {}
        text = f"loss {logs['loss']:.4g}, valid {logs['val_loss']:.4g}, best {self.run.best.loss:.4g}"
        self.bar.set_postfix_str(f"epoch {epoch + 1}/{self.epochs}: {text}")
        if self.bar.disable:
            spent = time.monotonic() - self.started
            left = spent / (epoch + 1 - self.run.first) * (self.epochs - epoch - 1)
            note(f"epoch {epoch + 1}/{self.epochs}: {text}; {self.bar.format_interval(left)} left")

    def on_train_end(self, logs: Any = None) -> None:
        self.bar.close()


def tensorboard(folder: Any) -> keras.callbacks.Callback:
    """The callback that writes losses for TensorBoard; raises UserError where that is not installed."""
    if missing := [name for name in ("tensorboard", "tensorflow") if find_spec(name) is None]:
        raise UserError(f"--tensorboard needs a package that is not installed: pip install {' '.join(missing)}")
    return keras.callbacks.TensorBoard(str(folder))


def draw_curves(log: Path, target: Path, lines: dict[str, tuple], unit: str, title: str) -> None:
    """Draw the course of a training, from its CSV log, as the PNG `target`.

    Args:
        log: with the columns `epoch` and, for each of `lines`, its error on train and on valid; separator ";".
        lines: {title: (column of train, column of valid, median baseline on valid or None)}.
        unit: of the errors, such as QP.
    """
    table = pd.read_csv(log, sep=";")
    with png_figure(target, title, (5 * len(lines) + 1, 4)) as figure:
        axes = figure.subplots(1, len(lines), squeeze=False, sharey=True)[0]
        highest = 0
        for axis, (label, (train, valid, baseline)) in zip(axes, lines.items()):
            epochs = table["epoch"] + 1
            axis.plot(epochs, table[train], label="train", color="0.6")
            axis.plot(epochs, table[valid], label="valid", color="C0")
            best = table["val_loss"].idxmin()
            axis.plot(epochs[best], table[valid][best], "o", color="C0", label=f"best epoch, {epochs[best]}")
            if baseline is not None:
                axis.axhline(baseline, color="C3", linestyle="--", label="training median, on valid")
                settled = table[[train, valid]].iloc[len(table) // 10 :].max().max()  # the first epochs may be far off
                highest = max(highest, 2.5 * baseline, 1.1 * settled)
            else:
                axis.set_yscale("log")
            axis.set(title=label, xlabel="epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
        if highest:
            axes[0].set_ylim(0, highest)
        axes[0].set_ylabel(unit)
        axes[-1].legend()
