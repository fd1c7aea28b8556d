"""The tables of `python3 -m common.evaluate`, ours beside the papers' own numbers, and what was run."""

import shlex
from pathlib import Path

import numpy as np
import pandas as pd

from common.core.files import atomic_write, write_csv
from common.evaluation.accuracy import MEASURES, RESAMPLES, measure
from common.models.released import LEVELS, RELEASED

PAPER = {("MJ-LAT", 1): {"MAE": 1.57, "PSNR": 0.72}, ("MJ-REC", 1): {"MAE": 1.57, "PSNR": 0.72}}
PAPER_SOURCE = (
    "IEEE TCSVT 2024, document 10500870, the headline of its multi-JND method for JND1 on VideoSet; whether that is "
    "MJ-LAT or MJ-REC is not known here, so that it stands beside both"
)
VIDEOSET = "human (VideoSet"
FILL = (
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


def results(table, data):
    """The measures as a table, a row a model and level.  table: of `common.evaluation.comparison.compare`."""
    rows = []
    for (model, level), part in table.groupby(["model", "level"], sort=False):
        about = {"data": data.name, "labels": data.labels, "model": model, "level": level}
        counts = {"pictures": len(part), "sources": part["source"].nunique()}
        rows.append({**about, **counts, **measure(part), **_paper(model, level, data.labels)})
    return pd.DataFrame(rows)


def not_run(data):
    """The rows of VideoSet where `data` is none of it: the papers' numbers, and nothing else; else None."""
    if data.labels.startswith(VIDEOSET):
        return None
    pairs = [
        (e.model, level) for e in RELEASED for level in ([e.level] if e.level else LEVELS) if e.model != "autoencoder"
    ]
    about = {"data": "VideoSet, not run", "labels": "human (VideoSet)"}
    return pd.DataFrame([{**about, "model": m, "level": n, **_paper(m, n, VIDEOSET)} for m, n in pairs])


def _paper(model, level, labels):
    """The papers' numbers, which are of VideoSet and so stand beside nothing else."""
    if not labels.startswith(VIDEOSET):
        return {}
    known = PAPER.get((model, level), {})
    return {"paper MAE": known.get("MAE"), "paper PSNR": known.get("PSNR"), "source": PAPER_SOURCE if known else None}


def tables(rows):
    """[(title, headings, rows of cells as text)] of results; the papers' column follows the measure that it is of."""
    made = []
    for title, names in TABLES.items():
        columns = [column for name in names for column in (name, f"paper {name}") if column in {*MEASURES, *rows}]
        headings = [
            MEASURES[c][0] if c in MEASURES else f"paper: {MEASURES[c.removeprefix('paper ')][0]}" for c in columns
        ]
        cells = [
            [row["model"], f"JND{row['level']}", *(_cell(row, column) for column in columns)]
            for row in rows.to_dict("records")
        ]
        made.append((title, ["model", "level", *headings], cells))
    return made


def _cell(row, name):
    """A number with its interval as text, empty where it is not known."""
    value = row.get(name)
    if value is None or np.isnan(value):
        return ""
    places = 4 if name == "SSIM" else 2
    numbers = [value, *_interval(row, name)]
    if name in SHARES:
        shown = [f"{round(100 * v)} %" for v in numbers]
    else:
        shown = [f"{round(v, places) + 0.0:.{places}f}" for v in numbers]  # 0.0 takes the sign off a -0.00
    return shown[0] + (f" ({' to '.join(shown[1:])})" if len(shown) > 1 else "")


def _interval(row, name):
    low, high = (row.get(f"{name} {end}", np.nan) for end in ("low", "high"))
    return () if np.isnan(low) else (low, high)


def about(data, rows):
    """What the tables are of, for a person: a list of sentences."""
    row = rows.iloc[0]
    lines = [f"{row['pictures']} test pictures of {row['sources']} sources in {data.name}; labels {data.labels}."]
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


def legend(psnr):
    """What the columns mean, a line each.  psnr: luma or rgb."""
    lines = [f"{heading}: {meaning}" for heading, meaning in MEASURES.values()]
    return [*lines, f"PSNR is that of {psnr}", f"paper: {PAPER_SOURCE}; empty where not known here"]


def as_text(rows):
    """The first table for a terminal."""
    _, headings, cells = tables(rows)[0]
    return pd.DataFrame(cells, columns=headings).iloc[:, :5].to_string(index=False)


def complexity_tables(costs):
    """What the models cost, a row a model, backend and precision, as `tables` gives it; [] where none was measured."""
    if costs is None:
        return []
    machines = list(dict.fromkeys(costs.get("machine", pd.Series()).dropna()))
    shown = costs.drop(columns="machine") if len(machines) == 1 else costs
    cells = [[_amount(value) for value in row] for row in shown.itertuples(index=False)]
    return [(f"Costs{f', on {machines[0]}' if len(machines) == 1 else ''}", list(shown.columns), cells)]


def _amount(value):
    if isinstance(value, str):
        return value
    return "" if np.isnan(value) else f"{value:,.10g}"


def about_costs(costs, rows, options):
    """What was measured of the models' costs, and the command for what was not: a list of sentences.  rows: results."""
    models, lines, good = list(dict.fromkeys(rows["model"])), [], pd.DataFrame({"model": []})
    if costs is not None:
        good = costs[costs["failed"].isna()] if "failed" in costs else costs
        flags = " ".join(
            f"--{name}s {' '.join(dict.fromkeys(costs[name]))}" for name in ("model", "backend", "precision")
        )
        lines.append(f"Costs by `python3 -m benchmarks.complexity {flags}`.")
    if lacking := [model for model in models if model not in set(good["model"])]:
        file = shlex.quote(str(Path(options.output) / "complexity.csv"))
        command = f"python3 -m benchmarks.complexity --backends installed --csv {file} --models {' '.join(lacking)}"
        lines.append(f"What these cost was not measured: `{command}`, or `--complexity` here for the usual backend.")
    return lines


def write(rows, made, data, drawn, costs, options):
    """Write results.csv and results.md into the output folder.  made: tables, as `tables` gives them."""
    output, empty = Path(options.output), not_run(data)
    every = rows if empty is None else pd.concat([rows.astype(object), empty.astype(object)])
    write_csv(every, output / "results.csv")
    lines = [f"# JND levels predicted on {data.name}", "", *about(data, rows), ""]
    for title, headings, cells in made:
        lines += [f"## {title}", "", *_markdown(headings, cells), ""]
    lines += [*about_costs(costs, rows, options), ""]
    lines += [f"![{title}]({file.name})" for title, file in drawn] + [""]
    if empty is not None:
        lines += ["## VideoSet: not run", "", "To fill these tables:", "", *(f"    {line}" for line in FILL), ""]
        for title, headings, cells in tables(empty):
            lines += [f"### {title}", "", *_markdown(headings, cells), ""]
    lines += ["## What the columns mean", "", *(f"- {line}" for line in legend(options.psnr))]
    with atomic_write(output / "results.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="backslashreplace")


def _markdown(headings, cells):
    return [f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *cells)]
