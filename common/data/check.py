"""Whether a dataset in the rootdir layout is fit to train on: `python3 -m common.prepare check`.

Faults spoil a training or its result: an image in two splits, labels in the wrong order, coded images of other images.
Remarks need a person's eye.  See `common.data.inspection` for what is looked for in the images.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from common.core.errors import UserError
from common.core.names import composed, natural_key
from common.core.plotting import png_figure
from common.core.threads import CORES
from common.data.dataset import match_images, read_splits
from common.data.inspection import check_coded_images, find_copies, inspect_images, usual_excess
from common.data.layout import LABEL_FILE, LEVELS, SPLITS, Unit, split_folder
from common.data.levels import median_baseline
from common.data.tables import MANIFEST, SHOWN, count_with_examples, distinct, label_kinds, read_manifest

SLIP = 1  # QP or QF: means of different subjects may pass each other by as much (VideoSet's clip 36 at 1080p: by 0.1)
ROUNDING = 0.01  # by which label files and manifests may differ


@dataclass
class Report:
    """Lines for a person, in the order found."""

    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, faults: list[str], remarks: list[str]) -> None:
        self.faults += faults
        self.remarks += remarks


def check_dataset(
    data_dir: str | Path, *, label_unit: Unit | None = None, plot: str | Path | None = None, jobs: int = CORES
) -> int:
    """Print what is in a dataset and what is wrong with it, and draw its labels as a PNG, `plot`.

    The parameters are the flags of `python3 -m common.prepare check`.  Returns 1 where there is a fault, else 0.
    """
    root, report = Path(data_dir), Report()
    manifest, report.faults = read_manifest(root)
    unit = label_unit or next(iter(distinct(manifest, "unit")), "QP")
    if unit not in ("QP", "QF"):
        raise UserError(f"{root / MANIFEST}: unit {unit!r}; expected QP or QF, or give --label_unit")
    splits = _read_splits(root, unit, report)
    inspections = inspect_images(splits, _match_coded(splits, root, report), unit, jobs)
    broken = [fault for of_split in inspections.values() for one in of_split for fault in one.faults]
    report.faults += count_with_examples("images cannot be used", broken)
    report.add(*find_copies(inspections))
    _check_sizes(inspections, report)
    _check_labels(splits, manifest, report)
    labels = {name: split.labels for name, split in splits.items() if split.labels is not None}
    levels = [level for level in LEVELS if any(level in split.levels for split in splits.values())]
    usual = usual_excess(inspections)
    for name, rows in labels.items():
        _check_order(splits[name], unit, report)
        report.add(*check_coded_images(rows, inspections[name], unit, usual))
    kinds = label_kinds(root, manifest)
    print(f"{root}: labels in {unit}, {kinds}")
    print(_images_table(splits, inspections))
    if labels:
        target = Path(plot or root / "check.png")
        print(_labels_table(labels, levels, unit))
        _draw(labels, levels, unit, f"{root.resolve().name}: labels {kinds}", target)
        print(f"histogram: {target}")
    for line in report.remarks:
        print(f"remark: {line}")
    for line in report.faults:
        print(f"fault: {line}")
    print("a training would be spoilt: mend the faults above" if report.faults else "no fault found")
    return 1 if report.faults else 0


def _read_splits(root, unit, report):
    """{name: Split} of the splits that can be read; why others cannot joins the report."""
    names = [name for name in SPLITS if (root / name).is_dir()]
    if not names:
        raise UserError(f"{root}: no {', '.join(SPLITS)} folder in it; expected a dataset in the rootdir layout")
    splits = {}
    for line, expected in ((report.faults, ("train", "valid")), (report.remarks, ("test",))):
        line += count_with_examples("folders are not there", [f"{name}/" for name in expected if name not in names])
    for name in names:
        for labels in ("required", "ignored"):
            try:
                splits |= read_splits(root, [name], labels=labels, unit=unit, decode=False)[0]
                break
            except UserError as error:
                optional = name == "test" and not (root / name / LABEL_FILE).exists()
                lines = report.remarks if optional else report.faults
                lines += [str(error)] * (str(error) not in lines)
    return splits


def _match_coded(splits, root, report):
    """{split: [the coded images, or None, at each level]}; what is missing joins the report."""
    there = {(name, level) for name in splits for level in LEVELS if (root / split_folder(name, level)).is_dir()}
    levels, names = {level for _, level in there}, {name for name, _ in there}
    coded = {}
    for name, split in splits.items():
        coded[name] = []
        for level in LEVELS:
            folder, matches = root / split_folder(name, level), [None] * len(split)
            if (name, level) in there:
                try:
                    matches = match_images(split, folder, decode=False)
                except UserError as error:
                    report.faults.append(str(error))
            elif level in levels:  # of another split
                line = f"{folder}: no such folder, but other splits have one; expected the images of {name}/ at {level}"
                (report.faults if name in names else report.remarks).append(line)
            coded[name].append(matches)
    return coded


def _check_sizes(inspections, report):
    """Where nearly all images have one size, another one is a fault."""
    sizes = Counter(one.size for of_split in inspections.values() for one in of_split if one.size)
    (usual, count), *others = sizes.most_common() or [(None, 0)]
    if others and count >= 0.8 * sizes.total():
        odd = [
            f"{one.name} {one.size[0]}x{one.size[1]}"
            for of_split in inspections.values()
            for one in of_split
            if one.size not in (None, usual)
        ]
        report.faults += count_with_examples(f"images of another size than the {count} of {usual[0]}x{usual[1]}", odd)


def _check_labels(splits, manifest, report):
    """Labels must differ, be no zeros, and be those of the manifest; the manifest's images must be there."""
    zeros, differ, twice, listed, filled = [], [], [], {}, np.zeros(len(LEVELS), bool)
    there = {f"{name}/{composed(image.name)}" for name, split in splits.items() for image in split.images}
    if {"split", "image"} <= set(manifest):
        texts = manifest.reindex(columns=list(LEVELS), fill_value="")
        levels = texts.apply(lambda column: pd.to_numeric(column.str.replace(",", "."), errors="coerce"))
        filled = levels.notna().any().to_numpy()  # columns
        keys = [f"{name}/{composed(image)}" for name, image in zip(manifest["split"], manifest["image"])]
        listed = dict(zip(keys, zip(levels.to_numpy(float), texts.to_numpy())))
        twice = [key for key, count in Counter(keys).items() if count > 1]
        unlisted = sorted(there - listed.keys(), key=natural_key)
        report.remarks += count_with_examples(f"images that have no row in {MANIFEST}", unlisted)
    for name, split in splits.items():
        if split.labels is None:
            continue
        shown = [" ".join(f"{value:g}" for value in row) for row in split.labels]
        if name == "train" and len(split) > 3 and len({*shown}) == 1 and np.nansum(split.labels):
            report.faults.append(
                f"{split.folder / LABEL_FILE}: all {len(split)} rows are {shown[0]}; nothing can be learned"
            )
        for image, row, text in zip(split.images, split.labels, shown):
            zeros += [f"{name}/{image.name}"] * (not np.nansum(row))
            due, texts = listed.get(f"{name}/{composed(image.name)}", (row, ()))
            if (np.abs(due - row) > ROUNDING).any() or (filled & np.isnan(due) & ~np.isnan(row)).any():
                differ.append(f"{name}/{image.name} {text}, there {' '.join(field or '-' for field in texts)}")
    absent = sorted(listed.keys() - there, key=natural_key)
    report.faults += count_with_examples(f"images that have several rows in {MANIFEST}", twice)
    report.faults += count_with_examples("rows of labels that are all 0", zeros)
    report.faults += count_with_examples(f"rows of labels that differ from {MANIFEST}", differ)
    report.faults += count_with_examples(f"images of {MANIFEST} that are not there", absent)


def _check_order(split, unit, report):
    """Labels must ascend in QP and descend in QF: a little off is a remark, more is a fault."""
    steps = np.diff(split.labels, axis=1) * (1 if unit == "QP" else -1)
    names = np.array([f"{split.name}/{image.name}" for image in split.images])
    order = "ascend" if unit == "QP" else "descend"
    wrong = (steps < -SLIP).any(axis=1)
    slight = (steps < 0).any(axis=1) & ~wrong
    report.remarks += count_with_examples(
        f"rows of levels that do not {order}, by at most {SLIP} {unit}", list(names[slight])
    )
    if wrong.sum() > len(split) / 2:
        other = "QF" if unit == "QP" else "QP"
        report.faults.append(
            f"{split.folder / LABEL_FILE}: {wrong.sum()} of {len(split)} rows do not {order}; are they {other}? "
            f"Say so by --label_unit {other}; or else columns are swapped"
        )
    else:
        report.faults += count_with_examples(f"rows of levels that do not {order}", list(names[wrong]))


def _images_table(splits, inspections):
    """The table of numbers and sizes, as text."""
    lines = ["split     images   coded at JND1 JND2 JND3   sizes"]
    for name, split in splits.items():
        counts = [sum(one.dbs[i] is not None for one in inspections[name]) for i in range(len(LEVELS))]
        sizes = Counter("{}x{}".format(*one.size) for one in inspections[name] if one.size).most_common()
        more = ", ..." if len(sizes) > SHOWN else ""
        shown = ", ".join(f"{size} ({count})" for size, count in sizes[:SHOWN]) + more
        lines.append(f"{name:6}{len(split):10}   " + "{:>13}{:5}{:5}".format(*counts) + f"   {shown}")
    return "\n".join(lines)


def _labels_table(labels, levels, unit):
    """The table of each level and split, with the error of the median baseline, as text."""
    lines = [
        f"level  split    mean    SD  median     range   baseline ({unit}: error of always predicting train's median)"
    ]
    for index, level in enumerate(levels):
        columns = {
            name: of_split[:, index] for name, of_split in labels.items() if np.isfinite(of_split[:, index]).all()
        }
        for name, column in columns.items():
            error = f"{median_baseline(columns['train'], column):.2f}" if "train" in columns else "-"
            lines.append(
                f"{level}   {name:6} {column.mean():6.1f} {column.std():5.1f} {np.median(column):7.1f} "
                f"{f'{column.min():g}-{column.max():g}':>9}   {error}"
            )
    return "\n".join(lines)


def _draw(labels, levels, unit, title, target):
    """Draw histograms of the labels as a PNG: a row for each level, the splits stacked."""
    known = np.concatenate([rows[np.isfinite(rows)] for rows in labels.values()])
    bins = np.arange(np.floor(known.min()), np.ceil(known.max()) + 2) - 0.5
    with png_figure(target, title, (9, 7)) as figure:
        axes = figure.subplots(len(levels), sharex=True, squeeze=False)[:, 0]
        for index, (axis, level) in enumerate(zip(axes, levels)):
            columns = [rows[np.isfinite(rows[:, index]), index] for rows in labels.values()]
            axis.hist(columns, bins, stacked=True, label=list(labels))
            axis.set_ylabel(f"{level}, images")
        axes[0].legend()
        axes[-1].set_xlabel(f"level ({unit})")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
