"""The tables of an evaluation, with the papers' own numbers, as results.csv and results.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from common.core.files import write_csv, write_text
from common.evaluation.accuracy import MEASURES, RESAMPLES, measure
from common.evaluation.comparison import EvaluationData
from common.evaluation.config import EvaluationConfig
from common.evaluation.trials import Trial
from common.models.registry import LEVELS
from common.models.released import RELEASED

PAPER = {("MJ-LAT", 1): {"MAE": 1.57, "PSNR": 0.72}, ("MJ-REC", 1): {"MAE": 1.57, "PSNR": 0.72}}
PAPER_SOURCE = (
    "IEEE TCSVT 2024, document 10500870, the headline of its multi-JND method for JND1 on VideoSet; whether that is "
    "MJ-LAT or MJ-REC is not known here, so that it is shown for both"
)
VIDEOSET = "human (VideoSet"
VIDEOSET_COMMANDS = (
    "python3 -m common.prepare videoset CLIPS/ SHEETS/ --data_dir VIDEOSET/",
    "python3 -m common.weights fetch",
    "python3 -m common.evaluate --data_dir VIDEOSET/ --weights pretrained/ --output results/videoset/",
)
TABLES = {
    "Levels": ["MAE", "floor", "skill", "RMSE", "bias", "Pearson", "Spearman", "within 1", "within 2", "within 3"],
    "Frames coded at the predicted level": [
        *("PSNR", "SSIM", "VMAF", "overshoot", "overshoot QP", "overshoot dB", "rate saved", "satisfied")
    ],
}
SHARES = ("within 1", "within 2", "within 3", "overshoot", "rate saved", "satisfied")


class Table(NamedTuple):
    """A table for a person."""

    title: str
    headings: list[str]
    rows: list[list[str]]  # the text of each cell, empty where the value is unknown


class Plot(NamedTuple):
    """A plot for a person."""

    title: str
    file: Path  # PNG
    table: str  # the title of the table that it stands beside, empty where it has a place of its own


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything that the result files show."""

    config: EvaluationConfig
    data: EvaluationData
    trials: Sequence[Trial]  # whose predictions count
    left_out: Sequence[str]  # a line about each weight file that could not be used
    results: pd.DataFrame  # the measures, a row per model and level
    tables: Sequence[Table]  # the same as text, and the costs of the models
    cost_notes: Sequence[str]  # sentences: the commands that measured the costs, or that would
    plots: Sequence[Plot]


def results(predictions: pd.DataFrame, data: EvaluationData) -> pd.DataFrame:
    """Return the measures of `common.evaluation.comparison.compare`'s predictions, a row per model and level."""
    rows = []
    for _, part in predictions.groupby(["model", "level"], sort=False):
        model, level = part[["model", "level"]].iloc[0]
        about = {"data": data.name, "labels": data.label_kind, "model": model, "level": level}
        counts = {"pictures": len(part), "sources": part["source"].nunique()}
        rows.append({**about, **counts, **measure(part), **_paper(model, level, data.label_kind)})
    return pd.DataFrame(rows)


def videoset_results(data: EvaluationData) -> pd.DataFrame | None:
    """Return `results` of VideoSet with only the papers' numbers, or None where `data` is of VideoSet itself."""
    if data.label_kind.startswith(VIDEOSET):
        return None
    about = {"data": "VideoSet, not run", "labels": "human (VideoSet)"}
    entries = [entry for entry in RELEASED if entry.model != "autoencoder"]
    known = [(entry.model, int(level[-1])) for entry in entries for level in ([entry.level] if entry.level else LEVELS)]
    return pd.DataFrame([{**about, "model": name, "level": n, **_paper(name, n, VIDEOSET)} for name, n in known])


def _paper(model, level, labels):
    """The papers' numbers.  They are of VideoSet, so that no other data may be compared with them."""
    if not labels.startswith(VIDEOSET):
        return {}
    known = PAPER.get((model, level), {})
    return {"paper MAE": known.get("MAE"), "paper PSNR": known.get("PSNR"), "source": PAPER_SOURCE if known else None}


def tables(results: pd.DataFrame) -> list[Table]:
    """Return TABLES of the results; the papers' column follows the column of the same measure."""
    made = []
    for title, names in TABLES.items():
        columns = [column for name in names for column in (name, f"paper {name}") if column in {*MEASURES, *results}]
        headings = [
            MEASURES[c][0] if c in MEASURES else f"paper: {MEASURES[c.removeprefix('paper ')][0]}" for c in columns
        ]
        rows = [
            [row["model"], f"JND{row['level']}", *(_cell(row, column) for column in columns)]
            for row in results.to_dict("records")
        ]
        made.append(Table(title, ["model", "level", *headings], rows))
    return made


def _cell(row, name):
    """A number with its interval as text, empty where it is not known."""
    value = row.get(name)
    if value is None or np.isnan(value):
        return ""
    ends = [row.get(f"{name} {end}", np.nan) for end in ("low", "high")]
    numbers = [value, *ends] if not np.isnan(ends[0]) else [value]
    if name in SHARES:
        shown = [f"{round(100 * number)} %" for number in numbers]
    else:
        places = 4 if name == "SSIM" else 2
        shown = [f"{round(number, places) + 0.0:.{places}f}" for number in numbers]  # 0.0 removes the sign of -0.00
    return shown[0] + (f" ({' to '.join(shown[1:])})" if len(shown) > 1 else "")


def about(evaluation: Evaluation) -> list[str]:
    """Return sentences about the data and the intervals."""
    data, row = evaluation.data, evaluation.results.iloc[0]  # every row has the same numbers of images and sources
    lines = [f"{row['pictures']} test images of {row['sources']} sources in {data.name}; labels: {data.label_kind}."]
    if data.pseudo:
        lines.append(
            "The labels are pseudo-labels, chosen by a metric, not by viewers: no figure here is about human vision."
        )
    if row["sources"] < 3:
        lines.append("Fewer than three sources: no intervals.")
    else:
        lines.append(
            f"In brackets: 95 % intervals of a bootstrap, {RESAMPLES} draws of whole sources (clips, photographs)"
            + (f"; of {row['sources']} sources they are rough." if row["sources"] < 20 else ".")
        )
    return lines


def verdicts(results: pd.DataFrame) -> list[str]:
    """Return a sentence per level: the model with the smallest error, beside the median baseline."""
    lines = []
    for level, rows in results.groupby("level"):
        best = rows.loc[rows["MAE"].idxmin()]
        line = f"JND{level}: {best['model']} has the smallest mean absolute error, {_cell(best, 'MAE')} QP"
        baseline = _cell(best, "floor")
        lines.append(line + (f"; the median baseline has {baseline}." if baseline else "."))
    return lines


def legend(psnr: str) -> list[str]:
    """Return the meaning of each column, a line each.  psnr: luma or rgb."""
    lines = [f"{heading}: {meaning}" for heading, meaning in MEASURES.values()]
    return [*lines, f"PSNR is that of {psnr}", f"paper: {PAPER_SOURCE}; empty where not known here"]


def as_text(table: Table) -> str:
    """Return the first columns of a table for a terminal."""
    return pd.DataFrame(table.rows, columns=pd.Index(table.headings)).iloc[:, :5].to_string(index=False)


def write(evaluation: Evaluation) -> None:
    """Write results.csv and results.md into the output folder."""
    data, output, empty = evaluation.data, evaluation.config.output, videoset_results(evaluation.data)
    rows = evaluation.results
    if empty is not None:
        rows = pd.concat([rows.astype(object), empty.astype(object)])
    write_csv(rows, output / "results.csv")
    lines = [f"# JND levels predicted on {data.name}", "", *about(evaluation), ""]
    lines += [*(f"- {line}" for line in verdicts(evaluation.results)), ""]
    for table in evaluation.tables:
        lines += [f"## {table.title}", "", *markdown(table), ""]
    lines += [*evaluation.cost_notes, ""]
    lines += [f"![{plot.title}]({plot.file.name})" for plot in evaluation.plots] + [""]
    if empty is not None:
        commands = [f"    {command}" for command in VIDEOSET_COMMANDS]
        lines += ["## VideoSet: not run", "", "These commands fill its tables:", "", *commands, ""]
        lines += ["<details><summary>The tables</summary>", ""]
        for table in tables(empty):
            lines += [f"### {table.title}", "", *markdown(table), ""]
        lines += ["</details>", ""]
    lines += ["## What the columns mean", "", *(f"- {line}" for line in legend(evaluation.config.psnr))]
    write_text(output / "results.md", "\n".join(lines) + "\n")


def markdown(table: Table) -> list[str]:
    """Return a table as lines of Markdown."""
    lines = (table.headings, ["---"] * len(table.headings), *table.rows)
    return [f"| {' | '.join(cells)} |" for cells in lines]
