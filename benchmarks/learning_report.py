"""The report of benchmarks.learning: report.md with the tables, results.csv, curves.png and reconstructions.png."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmarks.rivals import RIDGES
from common.core.environment import git_commit, machine
from common.core.files import write_csv, write_text
from common.core.plotting import png_figure
from common.data.layout import LEVELS, SPLITS, split_folder
from common.data.pseudolabels import THRESHOLDS
from common.data.tables import MANIFEST, source_column
from common.evaluation.accuracy import measure_levels
from common.evaluation.report import Table, markdown
from common.media import metrics
from common.media.images import read_image, resize
from common.models.registry import list_models

if TYPE_CHECKING:  # it imports this module
    from benchmarks.learning import Experiment, Run

EXAMPLES = ("astronaut.png", "coffee.png", "rocket.jpg")  # of scikit-image


def write(experiment: "Experiment", runs: Sequence["Run"], folder: Path) -> None:
    """Write the report of all runs that have a result."""
    manifest = pd.read_csv(experiment.rootdir / MANIFEST)
    made = [run for run in runs if experiment.record(run).get("best")]
    levels = level_table(experiment, [run for run in made if not run.is_autoencoder], manifest)
    tested = [run for run in made if run.is_autoencoder and experiment.result(run).is_file()]
    autoencoders = autoencoder_table(experiment, tested)
    write_csv(levels, folder / "results.csv")
    lines = ["# Levels of photographs that no model has seen", "", *_about(manifest), ""]
    if len(autoencoders):
        lines += ["## Autoencoders", "", *_as_lines(autoencoders), ""]
        draw_reconstructions(experiment, tested, folder / "reconstructions.png")
        lines += ["![Reconstructions](reconstructions.png)", ""]
    lines += ["## Levels", "", *_as_lines(_shown(levels)), "", *_rivals(experiment), ""]
    lines += _encoded(experiment)
    trained = [run for run in made if not run.is_autoencoder]
    if trained:
        draw_curves(experiment, trained, levels, folder / "curves.png")
        lines += ["## Curves", "", "![Error of each epoch](curves.png)", ""]
    lines += ["## Commands", "", *(f"    {_command(experiment.record(run))}" for run in made)]
    write_text(folder / "report.md", "\n".join(lines) + "\n")
    print("\n".join(lines[: lines.index("## Commands")]))
    print(f"report: {folder / 'report.md'}")


def level_table(experiment: "Experiment", runs: Sequence["Run"], manifest: pd.DataFrame) -> pd.DataFrame:
    """A row for each model and level: `measure`'s values with intervals by photograph, and how it was trained."""
    source = manifest.loc[manifest["split"] == "test"].set_index("image")[source_column(manifest)]
    medians = manifest.loc[manifest["split"] == "train", list(LEVELS)].median()
    ridge = pd.read_csv(experiment.output / "rivals" / "ridge.csv").set_index("image")

    def measure(file):
        """{level: values} of a file of predictions; without one the network was not tested."""
        table, values = pd.read_csv(file) if file.is_file() else pd.DataFrame(), {}
        for level in LEVELS:
            if level in table:
                of, label, median = table["image"].map(source), table[f"{level}_label"], float(medians[level])
                values[level] = measure_levels(table[level], label, median, of)
                errors = (table[level] - label).abs(), (ridge.loc[table["image"], level].to_numpy() - label).abs()
                more = measure_levels(*errors, median, of)  # whose bias is the difference of two means
                values[level] |= {f"beyond ridge{end}": more[f"bias{end}"] for end in ("", " low", " high")}
        return values

    rows = []
    for run in runs:
        measured, training = measure(experiment.result(run)), _training(experiment, run)
        rows += [
            {"model": run.name, "level": level, **measured.get(level, {}), "valid": error, **training}
            for level, error in valid_errors(experiment, run).items()
        ]
    for name in RIDGES:
        values = measure(experiment.output / "rivals" / f"{name}.csv")
        rows += [{"model": name, "level": level, **measured} for level, measured in values.items()]
    return pd.DataFrame(rows)


def valid_errors(experiment: "Experiment", run: "Run") -> dict[str, float]:
    """{level: mean absolute error on valid} in the epoch whose weights are kept."""
    logs, several = experiment.record(run)["best"]["logs"], len(run.spec.outputs) > 1
    levels = run.spec.levels(run.level)
    return {level: logs[f"val_{name}_loss" if several else "val_loss"] for name, level in levels.items()}


def _training(experiment, run):
    """What the tables say about a training."""
    record = experiment.record(run)
    size = record["arguments"].get("input_size")
    backend = next(name for name in ("tensorflow", "jax", "torch") if name in record["versions"])
    return {
        "trained on": f"{record['device'][0]}, {backend}",
        "epochs": len(pd.read_csv(experiment.files(run).log, sep=";")),
        "best epoch": record["best"]["epoch"],
        "hours": record["seconds"] / 3600,
        "input": f"{size[1]}x{size[0]}" if size else "paper's",
        "status": "finished" if record["status"] == "finished" else "stopped early",
        "commit": record["git_commit"],
    }


def _shown(levels):
    """The columns of the results that a person reads first."""
    rows = []
    for row in levels.to_dict("records"):
        trained, tested = pd.notna(row.get("epochs")), pd.notna(row["MAE"])
        row |= {"ratio": 1 - row["skill"], "ratio low": 1 - row["skill high"], "ratio high": 1 - row["skill low"]}
        rows.append(
            {
                "model": row["model"],
                "level": row["level"],
                "error, QP": _interval(row, "MAE"),
                "median's": f"{row['floor']:.2f}" if tested else "",
                "ratio": _interval(row, "ratio") if tested else "not tested",
                "minus the ridge's": _interval(row, "beyond ridge", "+.2f") if row["model"] != "ridge" else "",
                "RMSE": f"{row['RMSE']:.2f}" if tested else "",
                "error on valid": f"{row['valid']:.2f}" if trained else "",
                "Spearman": f"{row['Spearman']:.2f}" if pd.notna(row.get("Spearman")) else "",
                "input": row["input"] if trained else "",
                "trained on": row["trained on"] if trained else "",
                "best epoch": f"{row['best epoch']:.0f} of {row['epochs']:.0f}" if trained else "",
                "hours": f"{row['hours']:.2f}" if trained else "",
                "training": row["status"] if trained else "",
            }
        )
    return pd.DataFrame(rows)


def _interval(row, name, form=".2f"):
    """A value of a row with the ends of its interval, "" where it is not known."""
    value, low, high = (f"{row[f'{name}{end}']:{form}}" for end in ("", " low", " high"))
    return f"{value} ({low} to {high})" if pd.notna(row[name]) else ""


def autoencoder_table(experiment: "Experiment", runs: Sequence["Run"]) -> pd.DataFrame:
    """A row for each autoencoder: quality of its reconstructions of the test frames against their targets."""
    rows = []
    for run in runs:
        table, training = pd.read_csv(experiment.result(run)), _training(experiment, run)
        images = sorted((experiment.rootdir / "test").glob("*.png"))
        untouched = "" if run.level == "Img" else f"{np.mean([_unchanged(path, run.level) for path in images]):.2f}"
        rows.append(
            {
                "target": run.level,
                "PSNR, dB": f"{table['PSNR'].mean():.2f}",
                "lowest": f"{table['PSNR'].min():.2f}",
                "SSIM": f"{table['SSIM'].mean():.4f}",
                "PSNR of the image itself": untouched,
                "best epoch": f"{training['best epoch']} of {training['epochs']}",
                "hours": f"{training['hours']:.2f}",
            }
        )
    return pd.DataFrame(rows)


def _unchanged(path, level):
    """The PSNR of an image against its frame at `level`: what an autoencoder has that changes nothing."""
    frame = path.parents[1] / split_folder("test", level) / path.name
    return metrics.psnr(read_image(path), read_image(frame))


def _about(manifest):
    counts = manifest.groupby("split")[source_column(manifest)].agg(["nunique", "size"])
    shares = ", ".join(
        f"{split} {counts.loc[split, 'nunique']} ({counts.loc[split, 'size']} crops)" for split in SPLITS
    )
    at = ", ".join(f"{threshold:g}" for threshold in THRESHOLDS)
    return [
        f"Photographs: {shares}; none is in two splits. Labels: pseudo-labels by VMAF ({at}), not viewers: no figure",
        f"here is about human vision. Machine: {machine()}. Report made at commit {git_commit()}.",
        "",
        "Error: mean absolute error in QP on the test crops, with its 95 % interval (bootstrap by photograph).",
        "Median's: that of always predicting the training median. Ratio: the one divided by the other.",
        "Ridge: regression on a dozen hand-made features of an image. Four of them come from its bytes at three QPs,",
        "for which it is encoded three times; `ridge without encoder` has the others only. Minus the ridge's: the",
        "difference of the two errors, with its 95 % interval; where that includes 0, this test cannot tell which is",
        "better. RMSE: root of the mean squared error, in which large errors count more.",
        "Error on valid: in the epoch kept. A network that is not tested was stopped, and its weights are not here.",
    ]


def _rivals(experiment):
    seconds = json.loads((experiment.output / "rivals" / "search.json").read_text())
    searches = [f"{seconds[name]:.1f} s an image for {name}" for name in ("one level", "three levels")]
    text = f"The search by VMAF, which made the labels, has no error by definition. It takes {' and '.join(searches)}."
    return [text + "".join(f" {model} takes {seconds[model]:.2f} s." for model in seconds if model in list_models())]


def _encoded(experiment):
    """What a prediction is good for: the section, no lines where it is not measured."""
    file = experiment.output / "rivals" / "encoded.csv"
    if not file.is_file():
        return []
    table, target = pd.read_csv(file), THRESHOLDS[0]
    rows = []
    for name, qp, vmaf, size in (
        ("LAT's JND1", "predicted", "VMAF", "bytes"),
        ("one QP for all", "fixed", "fixed VMAF", "fixed bytes"),
    ):
        rows.append(
            {
                "encoded at": name,
                "QP": f"{table[qp].min():.0f} to {table[qp].max():.0f}",
                f"VMAF {target - 2:g} or more": f"{100 * (table[vmaf] >= target - 2).mean():.0f} %",
                f"VMAF {target - 2:g} to {target + 2:g}": f"{100 * ((table[vmaf] - target).abs() <= 2).mean():.0f} %",
                "bytes an image": f"{table[size].mean():,.0f}",
            }
        )
    saved = 1 - table["bytes"].sum() / table["fixed bytes"].sum()
    line = f"{len(table)} test images, one crop of each photograph; {100 * saved:.0f} % of the bytes are saved."
    return ["## What it is good for", "", *_as_lines(pd.DataFrame(rows)), "", line, ""]


def draw_curves(experiment: "Experiment", runs: Sequence["Run"], levels: pd.DataFrame, target: Path) -> None:
    """Draw the error on valid of each epoch, a panel for each run, beside the median's."""
    across = min(4, len(runs))
    down = -(-len(runs) // across)
    with png_figure(target, "Mean absolute error (QP) of each epoch", (max(5, 3.2 * across), 2.6 * down)) as figure:
        panels = figure.subplots(down, across, squeeze=False).flat
        for run, axes in zip(runs, panels):  # in this order: a panel that is taken is drawn
            log = pd.read_csv(experiment.files(run).log, sep=";")
            outputs = [output for output in run.spec.at(run.level) if output.target == "label"]
            several = len(run.spec.outputs) > 1
            for number, output in enumerate(outputs):
                column = f"{output.name}_loss" if several else "loss"
                style = {"color": f"C{number}", "linewidth": 1, "marker": ".", "markersize": 3}  # one epoch shows, too
                axes.plot(log["epoch"] + 1, log[column], linestyle=":", **style)
                axes.plot(log["epoch"] + 1, log[f"val_{column}"], label=output.level, **style)
            median = levels[levels["model"] == "ridge"]["floor"].mean()
            axes.axhline(median, color="0.6", linewidth=1, linestyle="--", label="median")
            axes.set_title(run.name, fontsize=8)
            axes.set_ylim(0, None)
            axes.locator_params(axis="x", integer=True)
            axes.tick_params(labelsize=7)
            axes.legend(fontsize=6)
        for axes in panels:  # those left over
            axes.axis("off")
        figure.supxlabel("epoch; solid: valid, dotted: train, dashed: always the training median (on test)", fontsize=8)


def draw_reconstructions(experiment: "Experiment", runs: Sequence["Run"], target: Path) -> None:
    """Draw photographs of packages, each beside what the autoencoders make of it."""
    folder = experiment.examples
    originals = [folder / "test" / name for name in EXAMPLES]
    size = 2 * (len(runs) + 1), 1.3 * len(originals)
    with png_figure(target, "Originals and reconstructions", size) as figure:
        for row, path in zip(figure.subplots(len(originals), len(runs) + 1, squeeze=False), originals):
            files = [folder / run.spec.name / path.with_suffix(".png").name for run in runs]
            for axes, file, title in zip(row, [path, *files], ["original", *(run.level for run in runs)]):
                axes.imshow(resize(read_image(file), 320, 176))
                axes.set_title(title, fontsize=8)
                axes.axis("off")


def _command(record):
    """The command of a training as a person would type it."""
    program, *arguments = record["command"]
    script = Path(program)
    name = f"-m common.{script.stem}" if script.parent.name == "common" else script.name
    return f"python3 {name} {shlex.join(arguments)}"


def _as_lines(table):
    return markdown(Table("", list(table.columns), table.astype(str).to_numpy().tolist()))
