"""Whether a dataset in the rootdir layout is fit to train on: `python3 -m common.prepare check`.

Faults spoil a training or its result: a picture in two splits, levels in the wrong order, JND frames of other pictures.
Remarks are for a person to look at.

Alike are two pictures whose gray 16 x 16 versions correlate above 0.95.  Of 36 photographs, any two stayed below
0.63, and each stayed above 0.97 with its own copy of half the size, as a JPEG of quality 10, and a seventh brighter.
A copy cut by more than a hundredth at each side can pass unseen.
"""

import hashlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from common.core.errors import UserError
from common.core.plotting import png_figure
from common.core.threads import parallel_map
from common.data import dataset
from common.data.dataset import LEVELS, SPLITS, split_folder
from common.data.labels import LABEL_FILE
from common.data.levels import median_baseline
from common.media import metrics
from common.media.images import read_image

ALIKE = 0.95
SLIP = 1  # QP or QF: means of different subjects may pass each other by as much (VideoSet's clip 36 at 1080p: by 0.1)
DB_SLIP = 0.1  # dB: frames one QP apart may, if one is a B frame and the other is not
OTHER_DB = 15  # dB: a frame further than this from its picture shows something else
SHOWN = 5  # examples of one kind


class Look(NamedTuple):
    """What is kept of a picture: its digest, (W, H), gray thumbnail of norm 1, PSNR of its frame at each level, None
    where there is no frame, and what is wrong with the files.
    """

    name: str
    digest: str
    size: tuple
    thumbnail: np.ndarray
    dbs: list
    faults: list


class Report:
    """What was found, in the order found."""

    def __init__(self):
        self.faults, self.remarks = [], []

    def some(self, kind, text, found):
        """Add to `kind`, faults or remarks, a line with how many were `found` and the first of them."""
        if found:
            more = f" ... and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            kind.append(f"{len(found)} {text}: {'; '.join(found[:SHOWN])}{more}")


def check(arguments):
    """Print the report and draw the labels; returns 1 where something would spoil a training, else 0."""
    root, report = Path(arguments.data_dir), Report()
    manifest = read_manifest(root, report)
    unit = arguments.label_unit or next(iter(manifest.get("unit", [])), "QP")
    if unit not in ("QP", "QF"):
        raise UserError(f"{root / 'manifest.csv'}: unit {unit!r}; expected QP or QF, or give --label_unit")
    splits = read_splits(root, unit, report)
    looks = look_at(splits, root, arguments.jobs, report)
    compare_pictures(looks, report)
    for name, split in splits.items():
        if split.labels is not None:
            check_order(split, unit, report)
            check_frames(split, looks[name], unit, report)
    kinds = list(dict.fromkeys(manifest.get("labels", [])))
    print(f"{root}: labels in {unit}, {' and '.join(kinds) or 'of unknown origin: there is no manifest.csv'}")
    print(pictures_table(splits, looks))
    labelled = {name: split for name, split in splits.items() if split.labels is not None}
    if labelled:
        target = Path(arguments.picture or root / "check.png")
        print(labels_table(labelled, unit))
        draw(labelled, unit, f"{root.resolve().name}: {' and '.join(kinds) or 'labels of unknown origin'}", target)
        print(f"histogram: {target}")
    for line in report.remarks:
        print(f"look at: {line}")
    for line in report.faults:
        print(f"fault: {line}")
    print("a training would be spoilt: mend the faults above" if report.faults else "no fault found")
    return 1 if report.faults else 0


def read_manifest(root, report):
    """ROOT/manifest.csv as a table, empty where there is none; what it says against itself joins the faults."""
    try:
        file = root / "manifest.csv"
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding_errors="surrogateescape")
    except FileNotFoundError:
        return pd.DataFrame()
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        report.faults.append(f"manifest.csv: cannot be read ({' '.join(str(error).split())}); make the dataset again")
        return pd.DataFrame()
    for column in ("unit", "labels"):
        if table.get(column, pd.Series()).nunique() > 1:
            kinds = " and ".join(table[column].unique())
            report.faults.append(f"manifest.csv: labels of two kinds, {kinds}; keep them apart")
    for source in {"clip", "photograph", "picture"} & set(table) if "split" in table else ():
        places = table.groupby(source)["split"].nunique()
        report.some(report.faults, f"{source}s in two splits", list(places.index[places > 1]))
    return table


def read_splits(root, unit, report):
    """{name: common.data.dataset.Split} of what is there; what cannot be read joins the faults."""
    names = [name for name in SPLITS if (root / name).is_dir()]
    if not names:
        raise UserError(f"{root}: no {', '.join(SPLITS)} folder in it; expected a dataset in the rootdir layout")
    splits = {}
    absent = [f"{name}/" for name in SPLITS if name not in names]
    report.some(report.remarks, "folders are not there", absent)
    for name in names:
        for labels in ("required", "ignored"):
            try:
                splits |= dataset.read_splits(root, [name], labels=labels, unit=unit, decode=False)[0]
                break
            except UserError as error:
                optional = name == "test" and not (root / name / LABEL_FILE).exists()
                (report.remarks if optional else report.faults).append(str(error))
    return splits


def look_at(splits, root, jobs, report):
    """{split: [Look of each picture, None where it cannot be read]}; what is wrong joins the faults."""
    frames = {name: [[] for _ in split.images] for name, split in splits.items()}
    for name, split in splits.items():
        for level in LEVELS:
            folder, found = root / split_folder(name, level), [None] * len(split)
            if folder.is_dir():
                try:
                    found = dataset.match_images(split, folder, decode=False)
                except UserError as error:
                    report.faults.append(str(error))
            for own, frame in zip(frames[name], found):
                own.append(frame)
    todo = [(name, *pair) for name, split in splits.items() for pair in zip(split.images, frames[name])]
    done = iter(parallel_map(lambda item: look(*item), todo, jobs, "picture"))
    looks = {name: [next(done) for _ in split.images] for name, split in splits.items()}
    broken = [fault for found in looks.values() for one in found for fault in one.faults]
    report.some(report.faults, "pictures cannot be used", broken)
    return looks


def look(split, path, frames):
    name = f"{split}/{path.name}"
    try:
        pixels = read_image(path)
    except UserError as error:
        return Look(name, None, None, None, [None] * len(frames), [str(error)])
    faults, dbs = [], []
    for frame in frames:
        db = None
        try:
            coded = None if frame is None else read_image(frame)
            if coded is not None and coded.shape != pixels.shape:
                faults.append(f"{frame}: its size is not that of {name}")
            elif coded is not None:
                db = metrics.psnr(pixels, coded)
        except UserError as error:
            faults.append(str(error))
        dbs.append(db)
    size = pixels.shape[1::-1]
    thumbnail = np.asarray(Image.fromarray(pixels).convert("L").resize((16, 16), Image.Resampling.BOX), np.float32)
    thumbnail = thumbnail.ravel() - thumbnail.mean()
    norm = np.linalg.norm(thumbnail)
    digest = hashlib.sha256(f"{size}".encode() + pixels.tobytes()).hexdigest()
    return Look(name, digest, size, thumbnail / norm if norm > 1 else thumbnail * 0, dbs, faults)


def compare_pictures(looks, report):
    """Find pictures that are the same or alike: between splits a fault, within one a remark."""
    found = [(split, one) for split, many in looks.items() for one in many if one.digest]
    if not found:
        return
    same = {}
    for split, one in found:
        same.setdefault(one.digest, {}).setdefault(split, []).append(one.name)
    between = [places for places in same.values() if len(places) > 1]
    report.some(
        report.faults, "pictures in two splits", [" = ".join(map(first_of, places.values())) for places in between]
    )
    within = [names for places in same.values() if len(places) == 1 for names in places.values() if len(names) > 1]
    report.some(report.remarks, "pictures more than once in a split", [" = ".join(names[:2]) for names in within])
    thumbnails, alike = np.array([one.thumbnail for _, one in found]), {True: [], False: []}
    for index, (split, one) in enumerate(found):
        for other in np.flatnonzero(thumbnails[:index] @ one.thumbnail > ALIKE):
            if found[other][1].digest != one.digest:
                alike[found[other][0] == split].append(f"{found[other][1].name} ~ {one.name}")
    report.some(report.faults, "pairs of pictures alike, in two splits", alike[False])
    report.some(report.remarks, "pairs of pictures alike in a split, as frames of a still scene are", alike[True])


def first_of(names):
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def check_order(split, unit, report):
    """Levels must ascend in QP and descend in QF: a little off is a remark, more is a fault."""
    steps = np.diff(split.labels, axis=1) * (1 if unit == "QP" else -1)
    names = np.array([f"{split.name}/{picture.name}" for picture in split.images])
    way = "ascend" if unit == "QP" else "descend"
    wrong = (steps < -SLIP).any(axis=1)
    slight = (steps < 0).any(axis=1) & ~wrong
    report.some(report.remarks, f"rows of levels that do not {way}, by at most {SLIP} {unit}", list(names[slight]))
    if wrong.sum() > len(wrong) / 2:
        other = "QF" if unit == "QP" else "QP"
        report.faults.append(
            f"{split.folder / LABEL_FILE}: {wrong.sum()} of {len(wrong)} rows do not {way}; are they {other}? "
            f"Say so by --label_unit {other}; or else columns are swapped"
        )
    else:
        report.some(report.faults, f"rows of levels that do not {way}", list(names[wrong]))


def check_frames(split, looks, unit, report):
    """The PSNR of JND frames must fall as their levels get worse, and be that of the same picture."""
    contrary, other, raw = [], [], []
    for levels, one in zip(split.labels * (1 if unit == "QP" else -1), looks):
        known = [(level, db, name) for level, db, name in zip(levels, one.dbs, LEVELS) if db is not None]
        for (level, db, name), (next_level, next_db, next_name) in zip(known, known[1:]):
            if (next_level - level) * (next_db - db) > 0 and abs(next_db - db) > DB_SLIP:
                shown = (
                    f"{one.name} {name} {abs(level):g} {db:.1f} dB, {next_name} {abs(next_level):g} {next_db:.1f} dB"
                )
                contrary.append(shown)
        other += [f"{one.name} {name} {db:.1f} dB" for _, db, name in known if db < OTHER_DB]
        raw += [f"{one.name} {name}" for level, db, name in known if db == np.inf and level]
    report.some(report.faults, "pairs of JND frames whose PSNR contradicts their levels", contrary)
    report.some(report.faults, f"JND frames of another picture (PSNR below {OTHER_DB} dB)", other)
    report.some(report.faults, "JND frames that are the picture itself, not coded", raw)


def pictures_table(splits, looks):
    lines = ["split   pictures   with frames at JND1 JND2 JND3   sizes"]
    for name, split in splits.items():
        counts = [sum(one.dbs[i] is not None for one in looks[name]) for i in range(len(LEVELS))]
        sizes = Counter("{}x{}".format(*one.size) for one in looks[name] if one.size).most_common()
        shown = ", ".join(f"{size} ({count})" for size, count in sizes[:SHOWN]) + (
            ", ..." if len(sizes) > SHOWN else ""
        )
        lines.append(f"{name:6}{len(split):10}   " + "{:>19}{:5}{:5}".format(*counts) + f"   {shown}")
    return "\n".join(lines)


def labels_table(splits, unit):
    """Statistics a level and split; the floor is the error of always answering the training median."""
    lines = [f"level  split    mean    SD  median     range   floor ({unit}: error of always answering train's median)"]
    for index, level in enumerate(LEVELS):
        for name, split in splits.items():
            jnd = split.labels[:, index]
            floor = f"{median_baseline(splits['train'].labels[:, index], jnd):.2f}" if "train" in splits else "-"
            lines.append(
                f"{level}   {name:6} {jnd.mean():6.1f} {jnd.std():5.1f} {np.median(jnd):7.1f} "
                f"{f'{jnd.min():g}-{jnd.max():g}':>9}   {floor}"
            )
    return "\n".join(lines)


def draw(splits, unit, title, target):
    """Histograms of the levels, one below the other, the splits stacked, as a PNG."""
    levels = [split.labels for split in splits.values()]
    bins = np.arange(np.floor(min(map(np.min, levels))), np.ceil(max(map(np.max, levels))) + 2) - 0.5
    with png_figure(target, title, (9, 7)) as figure:
        axes = figure.subplots(len(LEVELS), sharex=True)
        for index, (axis, level) in enumerate(zip(axes, LEVELS)):
            axis.hist([rows[:, index] for rows in levels], bins, stacked=True, label=list(splits))
            axis.set_ylabel(f"{level}, pictures")
        axes[0].legend()
        axes[-1].set_xlabel(f"level ({unit})")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
