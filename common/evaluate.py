"""The papers' tables from one command:

    python3 -m common.evaluate --data_dir ROOT/ --weights pretrained/ --output results/

Runs `test` of every model whose weight files lie in or below --weights on ROOT/test, codes each picture at the
predicted and at the true levels, and writes into --output:

    results.csv results.md   errors a model and level, with 95 % intervals, beside the papers' own numbers
    index.html               the same as a page: tables that sort, plots, pictures to compare
    *.png                    the plots
    complexity.csv           what each model costs: shown where benchmarks.complexity wrote it, or with --complexity
    pictures.csv             every prediction, and what coding at it gives
    README.md                what was run on which data, by which commands
    predictions/ coded/      what `test` wrote, and the coded pictures: kept, and made anew only where something changed

ROOT/train gives the median that a model must beat.  Weight files are known by their shapes, levels by JND1, JND2 or
JND3 in the name; MT_3LJND_VA's by VA in the name or in a folder's, its shapes being MT_3LJND's.
"""

import os
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

from common.errors import UserError
from common.files import PRETRAINED, write_csv


class Data(NamedTuple):
    """What the models are tried on.

    name: the rootdir as the command line gives it.  split: its test pictures, with levels in QP.  medians: of the
        training levels, NaN without.  labels: what kind they are.  sources: the photograph or clip of each picture.
    samples: {picture's path: three arrays of the subjects' levels}, empty where these are not given.
    """

    name: str
    split: object
    medians: object
    labels: str
    sources: list
    samples: dict

    @property
    def pseudo(self):
        return self.labels.startswith("pseudo")


def main(arguments=None):
    """Run the command line; returns the exit code: 1 where a weight file had to be left out."""
    from common import cli, flags

    parser = cli.Parser(prog="python3 -m common.evaluate", description=__doc__)
    parser.add_argument("--data_dir", required=True, metavar="ROOT", help="the rootdir; test/ needs labels in QP")
    parser.add_argument("--weights", default=PRETRAINED, metavar="W", help="the folder of weight files")
    parser.add_argument("--output", required=True, metavar="O", help="the folder for the results of this dataset")
    parser.add_argument("--psnr", choices=("luma", "rgb"), default="luma", help="of what PSNR is taken")
    parser.add_argument(
        "--sheets",
        metavar="S",
        help="VideoSet's label sheets: their samples give satisfied subjects (those of MCL-JCI are in the manifest)",
    )
    parser.add_argument("--pictures", type=flags.positive(int), default=12, help="how many the page shows")
    parser.add_argument(
        "--complexity",
        action="store_true",
        help="measure what each model costs, where complexity.csv in --output does not say it yet",
    )
    parser.add_argument("--jobs", type=flags.positive(int), default=os.cpu_count(), help="pictures coded at a time")
    options = parser.parse_args(arguments)

    from common import page, plots, provenance, report, trials
    from common.coded import Coded
    from common.programs import check_target

    started, output = time.monotonic(), Path(options.output)
    check_target(output / "results.csv")
    runs, left_out = trials.find_runs(Path(options.weights), Path(options.data_dir), output / "predictions")
    data = read_data(Path(options.data_dir), options.sheets)
    failed = [(run, why) for run in runs if (why := trials.bring(run, data.split))]
    left_out += [f"{run.name}: {why}" for run, why in failed]
    good = [run for run in runs if run not in [run for run, _ in failed]]
    if not good:
        raise UserError(f"{options.weights}: none of the weight files could be used; first, {left_out[0]}")
    coded = Coded(output / "coded")
    table = compare(data, good, coded, options)
    write_csv(table, output / "pictures.csv")
    results = report.results(table, data)
    drawn = plots.draw(table, data, coded, output)
    models = list(dict.fromkeys(run.model for run in good))
    costs = trials.costs(models, output / "complexity.csv", options.complexity)
    tables = report.tables(results) + report.complexity_tables(costs)
    report.write(results, tables, data, drawn, costs, options)
    page.write(results, tables, table, data, drawn, coded, costs, options, output / "index.html")
    minutes = (time.monotonic() - started) / 60
    command = ["python3", "-m", "common.evaluate", *(sys.argv[1:] if arguments is None else arguments)]
    provenance.write(results, data, good, left_out, costs, options, command, minutes, output / "README.md")
    print(report.as_text(results))
    for line in left_out:
        print(f"left out: {line}")
    print(f"{output / 'results.csv'}, results.md, index.html; {minutes:.1f} min")
    return 1 if left_out else 0


def read_data(root, sheets):
    """The Data of a rootdir.  Raises UserError where its labels are not fit to compare with."""
    import numpy as np

    from common import check, programs

    found = check.Report()
    manifest = check.read_manifest(root, found)
    if found.faults:
        raise UserError(f"{root}: {found.faults[0]}")
    unit = next(iter(manifest.get("unit", [])), "QP")
    if unit != "QP":
        raise UserError(f"{root / 'manifest.csv'}: labels in {unit}; expected QP, at which pictures can be coded")
    split = programs.read_splits(root, ("test",))["test"]
    medians = np.full(3, np.nan)
    if (root / "train").is_dir():
        medians = np.median(programs.read_splits(root, ("train",), decode=False)["train"].levels, axis=0)
    kind = next(iter(manifest.get("labels", [])), "of unknown origin: there is no manifest.csv")
    rows = manifest[manifest["split"] == "test"].set_index("image") if len(manifest) else manifest
    column = next((name for name in ("clip", "photograph", "picture") if name in rows), None)
    sources = [str(rows[column].get(path.name, path.name)) if column else path.name for path in split.pictures]
    if sheets:
        samples = read_samples(Path(sheets), kind, dict(zip(split.pictures, sources)))
    else:
        samples = kept_samples(root, rows, split.pictures)
    return Data(str(root), split, medians, kind, sources, samples)


def read_samples(folder, kind, clips):
    """{picture: three arrays of the subjects' levels} from VideoSet's sheets of the size that `kind` names."""
    from common import videoset

    size = re.search(r"VideoSet (\d+x\d+)", kind)
    if not size:
        raise UserError(
            f"--sheets {folder}: the dataset's labels are {kind}; expected VideoSet's, as common.prepare does"
        )
    levels = {f"SRC{number:03}": samples for number, samples in videoset.read_samples(folder, size[1]).items()}
    return {path: levels[clip] for path, clip in clips.items() if clip in levels}


def kept_samples(root, rows, pictures):
    """The same from the manifest's `rows` of the split, where common.prepare kept them there."""
    from common.tables import read_list

    columns = [f"samples at JND{level}" for level in (1, 2, 3)]
    if not set(columns) <= set(rows):
        return {}
    kept = {path: [rows[column].get(path.name) for column in columns] for path in pictures}
    return {
        path: [read_list(text, 51, f"{root / 'manifest.csv'}: {path.name}: samples") for text in texts]
        for path, texts in kept.items()
        if all(texts)
    }


def compare(data, runs, coded, options):
    """Every prediction of every run, a row each: what common.accuracy.measure wants, and where it comes from."""
    import numpy as np
    import pandas as pd

    from common import accuracy, population

    parts, mixtures = [], {}
    for run in runs:
        answers = pd.read_csv(run.result)
        for level in [run.level] if run.level else [1, 2, 3]:
            true = data.split.levels[:, level - 1].astype(float)
            part = pd.DataFrame({"image": [path.name for path in data.split.pictures], "source": data.sources})
            part.insert(0, "model", run.model)
            part.insert(1, "level", level)
            part = part.assign(true=true, predicted=answers[f"JND{level}"], median=data.medians[level - 1])
            part["coded QP"], part["true QP"] = accuracy.coded_qp(part["predicted"]), accuracy.coded_qp(true)
            mixtures[run.model, level] = accuracy.equal_risk(true, (part["coded QP"] > part["true"]).mean())
            parts.append(part.assign(path=data.split.pictures))
    table = pd.concat(parts, ignore_index=True)
    wanted = {
        path: {*rows["coded QP"].tolist(), *rows["true QP"].tolist()}
        for path, rows in table.groupby("path", sort=False)
    }
    fixed = {qp for mixture in mixtures.values() if mixture for qp in mixture[:2]}
    quality = coded.measure({path: qps | fixed for path, qps in wanted.items()}, options.jobs)

    def row(one):
        by_qp, si = quality[one["path"]]
        here, there = by_qp[one["coded QP"]], by_qp[one["true QP"]]
        names = {"PSNR": f"psnr {options.psnr}", "SSIM": "ssim", "VMAF": "vmaf"}
        low, high, weight = mixtures[one["model"], one["level"]] or (None, None, np.nan)
        samples = data.samples.get(one["path"])
        return {
            **{name: here[key] - there[key] for name, key in names.items()},
            "bytes": here["bytes"],
            "fixed bytes": (1 - weight) * by_qp[low]["bytes"] + weight * by_qp[high]["bytes"] if low else np.nan,
            "satisfied": population.satisfied(samples[one["level"] - 1], one["coded QP"]) if samples else np.nan,
            "SI": si,
        }

    rows = pd.DataFrame([row(one) for one in table.to_dict("records")])
    return pd.concat([table.drop(columns="path"), rows], axis=1)


if __name__ == "__main__":
    from common import cli

    cli.run(main)
