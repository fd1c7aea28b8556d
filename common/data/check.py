"""Whether a dataset in the rootdir layout is fit to train on: `python3 -m common.prepare check`.

Faults spoil a training or its result: an image in two splits, labels in the wrong order, coded images of other images.
Remarks need a person's eye.

Two images are alike where their gray 16 x 16 versions correlate above 0.95.  Of 36 photographs, any two stayed below
0.63, and each stayed above 0.97 with its own copy of half the size, as a JPEG of quality 10, and a seventh brighter.
A copy cut by more than a hundredth at each side can pass unseen.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from common.core.errors import UserError
from common.core.parallel import parallel_map
from common.core.plotting import png_figure
from common.core.threads import CORES
from common.data.dataset import LEVELS, SPLITS, match_images, read_splits, split_folder
from common.data.labels import LABEL_FILE, Unit
from common.data.levels import median_baseline
from common.data.tables import MANIFEST, SHOWN, count_with_examples, distinct, label_kinds, read_manifest
from common.media.images import read_image
from common.media.metrics import psnr

ALIKE = 0.95
SLIP = 1  # QP or QF: means of different subjects may pass each other by as much (VideoSet's clip 36 at 1080p: by 0.1)
DB_SLIP = 0.1  # dB: frames one QP apart may, if one is a B frame and the other is not
OTHER_DB = 15  # dB: a coded image further than this from the raw one shows something else


class Inspection(NamedTuple):
    """What is kept of an image; digest, size and thumbnail are None where it cannot be read."""

    name: str  # split and file name
    digest: str | None  # of the pixels
    size: tuple[int, int] | None  # (W, H)
    thumbnail: np.ndarray | None  # gray, (256,), of norm 1
    dbs: list[float | None]  # PSNR of its coded image at each level, None where there is none
    faults: list[str]  # what is wrong with the files


@dataclass
class Report:
    """Lines for a person, in the order found."""

    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


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
    inspections = _inspect_images(splits, root, jobs, report)
    _compare_images(inspections, report)
    labels = {name: split.labels for name, split in splits.items() if split.labels is not None}
    for name in labels:
        _check_order(splits[name], unit, report)
        _check_coded_images(splits[name], inspections[name], unit, report)
    kinds = label_kinds(root, manifest)
    print(f"{root}: labels in {unit}, {kinds}")
    print(_images_table(splits, inspections))
    if labels:
        target = Path(plot or root / "check.png")
        print(_labels_table(labels, unit))
        _draw(labels, unit, f"{root.resolve().name}: labels {kinds}", target)
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
    absent = [f"{name}/" for name in SPLITS if name not in names]
    report.remarks += count_with_examples("folders are not there", absent)
    for name in names:
        for labels in ("required", "ignored"):
            try:
                splits |= read_splits(root, [name], labels=labels, unit=unit, decode=False)[0]
                break
            except UserError as error:
                optional = name == "test" and not (root / name / LABEL_FILE).exists()
                (report.remarks if optional else report.faults).append(str(error))
    return splits


def _inspect_images(splits, root, jobs, report):
    """{split: [Inspection of each image]}; what is wrong with the files joins the faults."""
    todo = []
    for name, split in splits.items():
        columns = []
        for level in LEVELS:
            folder, matches = root / split_folder(name, level), [None] * len(split)
            if folder.is_dir():
                try:
                    matches = match_images(split, folder, decode=False)
                except UserError as error:
                    report.faults.append(str(error))
            columns.append(matches)
        todo += [(name, image, coded) for image, *coded in zip(split.images, *columns)]
    results = iter(parallel_map(lambda item: _inspect(*item), todo, jobs, "image"))
    inspections = {name: [next(results) for _ in split.images] for name, split in splits.items()}
    broken = [fault for of_split in inspections.values() for one in of_split for fault in one.faults]
    report.faults += count_with_examples("images cannot be used", broken)
    return inspections


def _inspect(split, path, coded):
    """The Inspection of an image, whose coded images have the paths `coded`, or None."""
    name = f"{split}/{path.name}"
    try:
        pixels = read_image(path)
    except UserError as error:
        return Inspection(name, None, None, None, [None] * len(coded), [str(error)])
    faults, dbs = [], []
    for file in coded:
        db = None
        try:
            other = None if file is None else read_image(file)
            if other is not None and other.shape != pixels.shape:
                faults.append(f"{file}: its size is not that of {name}")
            elif other is not None:
                db = psnr(pixels, other)
        except UserError as error:
            faults.append(str(error))
        dbs.append(db)
    height, width = pixels.shape[:2]
    size = width, height
    thumbnail = np.asarray(Image.fromarray(pixels).convert("L").resize((16, 16), Image.Resampling.BOX), np.float32)
    thumbnail = thumbnail.ravel() - thumbnail.mean()
    norm = np.linalg.norm(thumbnail)
    digest = hashlib.sha256(f"{size}".encode() + pixels.tobytes()).hexdigest()
    return Inspection(name, digest, size, thumbnail / norm if norm > 1 else thumbnail * 0, dbs, faults)


def _compare_images(inspections, report):
    """Find images that are the same or alike: between splits a fault, within one a remark."""
    readable = [(split, one) for split, of_split in inspections.items() for one in of_split if one.digest]
    if not readable:
        return
    same = {}
    for split, one in readable:
        same.setdefault(one.digest, {}).setdefault(split, []).append(one.name)
    between = [" = ".join(map(_first, places.values())) for places in same.values() if len(places) > 1]
    report.faults += count_with_examples("images in two splits", between)
    within = [names for places in same.values() if len(places) == 1 for names in places.values() if len(names) > 1]
    within = [" = ".join(names[:2]) for names in within]
    report.remarks += count_with_examples("images more than once in a split", within)
    thumbnails, alike = np.array([one.thumbnail for _, one in readable]), {True: [], False: []}
    for index, (split, one) in enumerate(readable):
        for other in np.flatnonzero(thumbnails[:index] @ one.thumbnail > ALIKE):
            if readable[other][1].digest != one.digest:
                alike[readable[other][0] == split].append(f"{readable[other][1].name} ~ {one.name}")
    report.faults += count_with_examples("pairs of images alike, in two splits", alike[False])
    report.remarks += count_with_examples(
        "pairs of images alike in a split, as frames of a still scene are", alike[True]
    )


def _first(names):
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


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


def _check_coded_images(split, inspections, unit, report):
    """The PSNR of coded images must fall as their labels get worse, and be that of the same image."""
    contrary, other, raw = [], [], []
    for labels, one in zip(split.labels * (1 if unit == "QP" else -1), inspections):
        known = [(label, db, name) for label, db, name in zip(labels, one.dbs, LEVELS) if db is not None]
        for (label, db, name), (next_label, next_db, next_name) in zip(known, known[1:]):
            if (next_label - label) * (next_db - db) > 0 and abs(next_db - db) > DB_SLIP:
                contrary.append(
                    f"{one.name} {name} {abs(label):g} {db:.1f} dB, {next_name} {abs(next_label):g} {next_db:.1f} dB"
                )
        other += [f"{one.name} {name} {db:.1f} dB" for _, db, name in known if db < OTHER_DB]
        raw += [f"{one.name} {name}" for label, db, name in known if db == np.inf and label]
    report.faults += count_with_examples("pairs of coded images whose PSNR contradicts their levels", contrary)
    report.faults += count_with_examples(f"coded images of another image (PSNR below {OTHER_DB} dB)", other)
    report.faults += count_with_examples("coded images that are the image itself, not coded", raw)


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


def _labels_table(labels, unit):
    """The table of each level and split, with the error of the median baseline, as text."""
    lines = [
        f"level  split    mean    SD  median     range   baseline ({unit}: error of always predicting train's median)"
    ]
    for index, level in enumerate(LEVELS):
        for name, of_split in labels.items():
            column = of_split[:, index]
            error = f"{median_baseline(labels['train'][:, index], column):.2f}" if "train" in labels else "-"
            lines.append(
                f"{level}   {name:6} {column.mean():6.1f} {column.std():5.1f} {np.median(column):7.1f} "
                f"{f'{column.min():g}-{column.max():g}':>9}   {error}"
            )
    return "\n".join(lines)


def _draw(labels, unit, title, target):
    """Draw histograms of the labels as a PNG: a row for each level, the splits stacked."""
    columns = list(labels.values())
    bins = np.arange(np.floor(min(map(np.min, columns))), np.ceil(max(map(np.max, columns))) + 2) - 0.5
    with png_figure(target, title, (9, 7)) as figure:
        axes = figure.subplots(len(LEVELS), sharex=True)
        for index, (axis, level) in enumerate(zip(axes, LEVELS)):
            axis.hist([rows[:, index] for rows in columns], bins, stacked=True, label=list(labels))
            axis.set_ylabel(f"{level}, images")
        axes[0].legend()
        axes[-1].set_xlabel(f"level ({unit})")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
