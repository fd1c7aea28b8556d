"""The course of a training as a picture: error on train and valid, epoch for epoch, from its CSV log."""

from common.core.plotting import png_figure


def draw(log, target, levels, unit, title):
    """Draw the log as the PNG `target`.

    log: the CSV file, separator ";", columns `epoch`, and for each level its error on train and valid.
    levels: {label: (column of train, column of valid, floor or None)}; the floor is what always answering the training
        median gives on valid.  unit: of the errors, such as QP.
    """
    import pandas as pd

    table = pd.read_csv(log, sep=";")
    with png_figure(target, title, (5 * len(levels) + 1, 4)) as figure:
        axes = figure.subplots(1, len(levels), squeeze=False, sharey=True)[0]
        highest = 0
        for axis, (label, (train, valid, floor)) in zip(axes, levels.items()):
            epochs = table["epoch"] + 1
            axis.plot(epochs, table[train], label="train", color="0.6")
            axis.plot(epochs, table[valid], label="valid", color="C0")
            best = table["val_loss"].idxmin()
            axis.plot(epochs[best], table[valid][best], "o", color="C0", label=f"best epoch, {epochs[best]}")
            if floor is not None:
                axis.axhline(floor, color="C3", linestyle="--", label="training median, on valid")
                settled = table[[train, valid]].iloc[len(table) // 10 :].max().max()  # the first epochs may be far off
                highest = max(highest, 2.5 * floor, 1.1 * settled)
            else:
                axis.set_yscale("log")
            axis.set(title=label, xlabel="epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
        if highest:
            axes[0].set_ylim(0, highest)
        axes[0].set_ylabel(unit)
        axes[-1].legend()
