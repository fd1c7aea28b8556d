"""The plots of an evaluation."""

from pathlib import Path

import numpy as np
import pandas as pd

from common.core.plotting import png_figure
from common.encoding.image_cache import EncodedImageCache
from common.evaluation.comparison import EvaluationData
from common.evaluation.report import TABLES, Plot
from common.media.images import read_image

AMPLIFIED = 8  # how many times the strips enlarge the difference of two frames
ERRORS, FRAMES = TABLES  # the tables that plots stand beside
WIDEST = 10  # QP; the histogram counts larger errors at its ends


def draw(
    predictions: pd.DataFrame,
    results: pd.DataFrame,
    data: EvaluationData,
    encoded_images: EncodedImageCache,
    folder: Path,
) -> list[Plot]:
    """Draw all plots into `folder`.

    Args:
        predictions: See `common.evaluation.comparison.compare`.
        results: The measures, see `common.evaluation.report.results`.
        encoded_images: Must hold each image at the true and the predicted QPs.
    """
    colours = {model: f"C{number}" for number, model in enumerate(predictions["model"].unique())}
    # There is no QP above 51: the levels of an untrained model would leave no room for the others.
    predicted = predictions["predicted"].clip(0, 51)
    columns = {"colour": predictions["model"].map(colours.get), "predicted": predicted}
    by_level = list(predictions.assign(**columns, error=predicted - predictions["true"]).groupby("level"))
    plots = []

    def figure(name, title, size, table=""):
        plots.append(Plot(title, folder / name, table))
        return png_figure(folder / name, f"{title}\n{data.name}; labels: {data.label_kind}", size)

    size = (4.5 * len(by_level) + 1, 4.5)
    title = "Mean absolute error, with 95 % intervals"
    with figure("models.png", title, (4.5, 0.9 + 0.5 * len(by_level) + 0.3 * len(results)), ERRORS) as panels:
        _draw_models(panels, results, colours)
    with figure("predicted.png", f"Predicted against {data.noun}", size, ERRORS) as panels:
        _draw_predicted(panels, by_level, data.noun)
    with figure("errors.png", f"Errors: predicted - {data.noun}; above 0 it overshoots", size, FRAMES) as panels:
        _draw_histogram(panels, by_level)
    with figure("content.png", "Error by content", size, ERRORS) as panels:
        _draw_content(panels, by_level)
    for level, part in by_level:
        best = part["error"].abs().groupby(part["model"]).mean().idxmin()
        part = part[part["model"] == best].assign(over=part["coded QP"] - part["true"])
        part = part.sort_values("over", kind="stable")
        chosen = part.iloc[sorted({0, len(part) // 2, len(part) - 1})]
        title = f"JND{level}: {best}, the largest undershoot, a median error, the largest overshoot"
        with figure(f"strip_JND{level}.png", title, (16, 2.6 * len(chosen))) as strip:
            _draw_strip(strip, chosen, data, encoded_images)
    return plots


def _draw_models(figure, results, colours):
    """Draw a panel per level, all with one scale of QP."""
    levels = list(results.groupby("level"))
    heights = [len(rows) + 1 for _, rows in levels]
    panels = figure.subplots(len(levels), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axes, (level, rows) in zip(panels, levels):
        for place, row in enumerate(rows.to_dict("records")):
            axes.plot(row["MAE"], place, "o", color=colours[row["model"]])
            axes.hlines(place, row.get("MAE low", np.nan), row.get("MAE high", np.nan), colours[row["model"]])
        axes.axvline(rows["floor"].iloc[0], color="0.4", linestyle=":")
        axes.set(yticks=range(len(rows)), yticklabels=rows["model"], ylim=(len(rows) - 0.5, -0.5), ylabel=f"JND{level}")
    panels[-1].set(xlabel="QP; dotted: median baseline", xlim=(0, None))


def _panels(figure, by_level):
    """Yield (axes, rows of the level, [(model, its rows, its colour), ...]) of each level, and label what was drawn."""
    for axes, (level, part) in zip(figure.subplots(1, len(by_level), squeeze=False)[0], by_level):
        models = part.groupby("model", sort=False)
        yield axes, part, [(model, rows, rows["colour"].iloc[0]) for model, rows in models]
        axes.set_title(f"JND{level}")
        axes.legend(fontsize=8)


def _draw_predicted(figure, by_level, noun):
    for axes, part, models in _panels(figure, by_level):
        ends = [part[["true", "predicted"]].min().min() - 1, part[["true", "predicted"]].max().max() + 1]
        axes.plot(ends, ends, color="0.7", zorder=0)
        for model, rows, colour in models:
            axes.scatter(rows["true"], rows["predicted"], s=18, alpha=0.7, color=colour, label=model)
        axes.axhline(part["median"].iloc[0], color="0.4", linestyle=":", label="training median")
        axes.set(xlabel=f"{noun} (QP)", ylabel="predicted (QP)", xlim=ends, ylim=ends, aspect="equal")


def _draw_histogram(figure, by_level):
    bins = np.arange(-WIDEST - 0.5, WIDEST + 1)
    for axes, _, models in _panels(figure, by_level):
        for model, rows, colour in models:
            error = rows["error"].clip(-WIDEST, WIDEST)
            axes.hist(error, bins, label=model, histtype="step", color=colour, linewidth=1.5, alpha=0.8)
        axes.axvline(0, color="0.7", zorder=0)
        axes.set(xlabel=f"error (QP); beyond {WIDEST} at the ends", ylabel="images")
        axes.yaxis.get_major_locator().set_params(integer=True)


def _draw_content(figure, by_level):
    for axes, _, models in _panels(figure, by_level):
        for model, rows, colour in models:
            axes.scatter(rows["SI"], rows["error"].abs(), s=18, alpha=0.7, color=colour, label=model)
        axes.set(xlabel="spatial information (ITU-T P.910)", ylabel="absolute error (QP)", ylim=(0, None))


def _draw_strip(figure, rows, data, encoded_images):
    """Draw a line per row: the original image, the frames coded at the true and the predicted QP, their difference."""
    paths = {path.name: path for path in data.split.images}
    for line, row in zip(figure.subplots(len(rows), 4, squeeze=False), rows.to_dict("records")):
        path = paths[row["image"]]
        true, predicted = (encoded_images.decode(path, row[name]) for name in ("true QP", "coded QP"))
        difference = np.clip(128 + AMPLIFIED * (predicted.astype(int) - true), 0, 255).astype(np.uint8)
        titles = (
            row["image"],
            f"at the {data.noun}, QP {row['true QP']}",
            f"as predicted, QP {row['coded QP']}: {row['PSNR']:+.2f} dB",
            f"difference of the two, times {AMPLIFIED}",
        )
        for axes, pixels, title in zip(line, (read_image(path), true, predicted, difference), titles):
            axes.imshow(pixels)
            axes.set_title(title, fontsize=9)
            axes.axis("off")
