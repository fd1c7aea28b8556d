"""The plots of `python3 -m common.evaluate`."""

import numpy as np

from common.core.files import atomic_write
from common.evaluation.accuracy import per_picture
from common.media.images import read_image

AMPLIFIED = 8  # times, the difference of two frames
WIDEST = 10  # QP, in the histogram; what is further off counts there


def draw(table, data, coded, folder):
    """Draw all plots into `folder`; returns [(title, path), ...].  table: of `common.evaluation.comparison.compare`."""
    import matplotlib

    matplotlib.use("Agg")
    label = "pseudo-label" if data.pseudo else "label"
    colours = {model: f"C{number}" for number, model in enumerate(table["model"].unique())}
    # Beyond 51 there is no QP: an untrained model's answers would leave the others no room.
    table = table.assign(colour=table["model"].map(colours), predicted=table["predicted"].clip(0, 51))
    by_level = list(table.groupby("level"))
    drawn = [
        _save(_predicted(by_level, label), f"Predicted against {label}", data, folder / "predicted.png"),
        _save(
            _histogram(by_level),
            f"Errors: predicted - {label}; above 0 it overshoots",
            data,
            folder / "errors.png",
        ),
        _save(_content(by_level), "Error by content", data, folder / "content.png"),
    ]
    for level, part in by_level:
        best = per_picture(part)["absolute"].groupby(part["model"]).mean().idxmin()
        title = f"JND{level}: {best}, the largest undershoot, a median error, the largest overshoot"
        figure = _strip(part[part["model"] == best], data, coded, label)
        drawn.append(_save(figure, title, data, folder / f"strip_JND{level}.png"))
    return drawn


def _panels(by_level):
    from matplotlib import pyplot

    count = len(by_level)
    figure, axes = pyplot.subplots(1, count, figsize=(4.5 * count + 1, 4.5), layout="constrained", squeeze=False)
    for axis, (level, _) in zip(axes[0], by_level):
        axis.set_title(f"JND{level}")
    return figure, axes[0]


def _predicted(by_level, label):
    figure, axes = _panels(by_level)
    for axis, (_, part) in zip(axes, by_level):
        ends = [part[["true", "predicted"]].min().min() - 1, part[["true", "predicted"]].max().max() + 1]
        axis.plot(ends, ends, color="0.7", zorder=0)
        for model, rows in part.groupby("model", sort=False):
            axis.scatter(rows["true"], rows["predicted"], s=18, alpha=0.7, color=rows["colour"].iloc[0], label=model)
        axis.axhline(part["median"].iloc[0], color="0.4", linestyle=":", label="training median")
        axis.set(xlabel=f"{label} (QP)", ylabel="predicted (QP)", xlim=ends, ylim=ends, aspect="equal")
        axis.legend(fontsize=8)
    return figure


def _histogram(by_level):
    figure, axes = _panels(by_level)
    for axis, (_, part) in zip(axes, by_level):
        error = (part["predicted"] - part["true"]).clip(-WIDEST, WIDEST)
        bins = np.arange(-WIDEST - 0.5, WIDEST + 1)
        for model, rows in part.groupby("model", sort=False):
            how = {"histtype": "step", "color": rows["colour"].iloc[0], "linewidth": 1.5, "alpha": 0.8}
            axis.hist(error[rows.index], bins, label=model, **how)
        axis.axvline(0, color="0.7", zorder=0)
        axis.set(xlabel=f"error (QP); beyond {WIDEST} at the ends", ylabel="pictures")
        axis.yaxis.get_major_locator().set_params(integer=True)
        axis.legend(fontsize=8)
    return figure


def _content(by_level):
    figure, axes = _panels(by_level)
    for axis, (_, part) in zip(axes, by_level):
        error = per_picture(part)["absolute"]
        for model, rows in part.groupby("model", sort=False):
            axis.scatter(rows["SI"], error[rows.index], s=18, alpha=0.7, color=rows["colour"].iloc[0], label=model)
        axis.set(xlabel="spatial information (ITU-T P.910)", ylabel="absolute error (QP)", ylim=(0, None))
        axis.legend(fontsize=8)
    return figure


def _strip(part, data, coded, label):
    """Pictures raw, coded at the true and at the predicted QP, and what sets the last two apart."""
    from matplotlib import pyplot

    order = (part["coded QP"] - part["true"]).sort_values(kind="stable").index
    chosen = list(dict.fromkeys([order[0], order[len(order) // 2], order[-1]]))
    figure, axes = pyplot.subplots(len(chosen), 4, figsize=(16, 2.6 * len(chosen)), layout="constrained", squeeze=False)
    paths = {path.name: path for path in data.split.images}
    for line, index in zip(axes, chosen):
        row = part.loc[index]
        path = paths[row["image"]]
        true, predicted = (coded.decode(path, row[name]) for name in ("true QP", "coded QP"))
        apart = np.clip(128 + AMPLIFIED * (predicted.astype(int) - true), 0, 255).astype(np.uint8)
        titles = (
            row["image"],
            f"at the {label}, QP {row['true QP']}",
            f"as predicted, QP {row['coded QP']}: {row['PSNR']:+.2f} dB",
            f"difference of the two, times {AMPLIFIED}",
        )
        for axis, picture, title in zip(line, (read_image(path), true, predicted, apart), titles):
            axis.imshow(picture)
            axis.set_title(title, fontsize=9)
            axis.axis("off")
    return figure


def _save(figure, title, data, target):
    from matplotlib import pyplot

    figure.suptitle(f"{title}\n{data.name}; labels {data.labels}", fontsize=10)
    with atomic_write(target) as temporary:
        figure.savefig(temporary, dpi=100)
    pyplot.close(figure)
    return title, target
