"""MCL-JCI (HVEI 2016) into the rootdir layout: `python3 -m common.prepare mcl-jci`.

People saw JPEGs: the levels are quality factors (QF), where a higher number is better, and JND1 > JND2 > JND3.  The
frame at a level is the JPEG itself.  How the papers made QPs of QFs is not public.  Two labels are on offer:

- QF as it is, the default: it is what people were asked, with nothing added.  The programs read it by
  `--label_unit QF`.
- QP of the H.264 intra frame (see `common.media.ffmpeg`) whose PSNR is nearest to that of the JPEG, for mixing with VideoSet.
  It equates two kinds of damage that PSNR cannot tell apart and people can: a computed label, and called so.
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from common.core.errors import UserError
from common.data.builder import DatasetBuilder, assign_splits, find_sources
from common.data.dataset import LEVELS, SPLITS, split_folder
from common.data.levels import nearest_qp
from common.data.tables import read_table, refuse_repeats
from common.media.ffmpeg import QP_RANGE, VIDEOSET_X264, encode_intra
from common.media.ffmpeg_process import find_ffmpeg
from common.media.images import read_image, write_png
from common.media.metrics import psnr

NAME = re.compile(r"ImageJND_SRC(\d+)(?:_(\d+))?\.\w+")  # picture and, of its JPEGs, QF
SUFFIXES = frozenset({".bmp", ".jpg", ".jpeg", ".png"})
FOLDS = range(1, 11)
SAMPLES = ("image", "subject", "jnd1_qf", "jnd2_qf", "jnd3_qf")
STAIRS = ("image", "n_levels", "qf_levels")
SUR = ("ref_img", "dist_patch", "first_SUR", "second_SUR", "third_SUR", "set")


def mcl_jci(arguments):
    """Make, or go on making, the dataset; returns 1 where a picture had to be left out, else 0."""
    folder, sheets, root = (Path(getattr(arguments, name)) for name in ("picture_dir", "sheet_dir", "data_dir"))
    if arguments.unit == "QP":
        find_ffmpeg()
    levels, samples = read_levels(sheets, arguments.label, arguments.ratio), read_samples(sheets)
    pictures, left_out = find_pictures(folder, root, levels)
    if arguments.split:
        splits = assign_splits(sorted(pictures), arguments.split, arguments.seed, "picture")
    else:
        splits = split_by_fold(sheets, arguments.fold, pictures, left_out)
    units = {f"SRC{number:02}": number for number in sorted(splits)}
    settings = {name: getattr(arguments, name) for name in ("label", "ratio", "unit", "fold", "split", "seed")}
    needed, lacking = {}, []
    for unit, number in units.items():
        judged = {qf for of_level in samples.get(number, ()) for qf in of_level} if arguments.unit == "QP" else set()
        if absent := sorted(judged - pictures[number].keys()):
            lacking.append(f"{unit}: the subjects' samples; no ImageJND_{unit}_{absent[0]:03}.jpg")
            samples.pop(number)
        needed[unit] = [0, *map(nearest_qp, levels[number]), *sorted(judged if number in samples else ())]
    sources = {
        unit: {
            "levels": levels[number],
            "samples": samples.get(number),
            "files": {name: (folder / name).stat().st_size for name in (pictures[number][qf] for qf in needed[unit])},
        }
        for unit, number in units.items()
    }
    plan = {"coding": VIDEOSET_X264, "splits": {unit: splits[number] for unit, number in units.items()}}
    making = DatasetBuilder(root, "mcl-jci", "picture", settings, sources, plan, arguments.overwrite)
    source = f"MCL-JCI, {arguments.label}" + (f" {arguments.ratio:g}" if arguments.label == "sur" else "")

    def make_picture(unit, target):
        number = units[unit]
        paths = {qf: folder / pictures[number][qf] for qf in needed[unit]}
        given = (levels[number], samples.get(number))
        return [make_row(unit, paths, splits[number], *given, arguments.unit, source, target)]

    def about(rows):
        return f"the levels are {rows[0]['labels']}, in {arguments.unit}" + (
            "; pass --label_unit QF to the programs" if arguments.unit == "QF" else ""
        )

    return making.run(units, make_picture, arguments.jobs, about, left_out, lacking)


def make_row(unit, paths, split, factors, samples, scale, source, folder):
    """Write a picture and its JPEGs at the levels; returns its row of the manifest.

    paths: {QF: JPEG}, the first, 0, the picture: of the levels, for labels in QP of the samples too.  factors: the
    levels in QF.  samples: three lists of the subjects' QFs, or None.  scale: "QF" or "QP", of labels and samples.
    """
    raw, dbs = read_image(paths[0]), {}
    for qf, path in list(paths.items())[1:]:
        pixels = read_image(path)
        if pixels.shape != raw.shape:
            raise UserError(f"{path}: its size is not that of {paths[0].name}; copy both again")
        dbs[qf] = psnr(raw, pixels)
    write_png(folder / split_folder(split) / f"{unit}.png", raw)
    coded = [paths[nearest_qp(factor)] for factor in factors]
    for level, path in zip(LEVELS, coded):
        target = folder / split_folder(split, level) / f"{unit}{path.suffix.lower()}"
        target.parent.mkdir()
        shutil.copyfile(path, target)
    labels = factors
    if scale == "QP":
        qps = nearest_qps(raw, dbs)
        labels = [qps[nearest_qp(factor)] for factor in factors]
        samples = samples and [[qps[qf] for qf in of_level] for of_level in samples]
    kind = "human" if scale == "QF" else "computed from human QF: QP of the nearest PSNR"
    return {
        "split": split,
        "image": f"{unit}.png",
        "picture": unit,
        **dict(zip(LEVELS, labels)),
        **{f"QF at {level}": qf for level, qf in zip(LEVELS, factors)},
        **{f"source at {level}": path.name for level, path in zip(LEVELS, coded)},
        **{f"PSNR at {level}": round(dbs[nearest_qp(qf)], 2) for level, qf in zip(LEVELS, factors)},
        **{f"samples at {level}": json.dumps(of_level) for level, of_level in zip(LEVELS, samples or ())},
        "unit": scale,
        "labels": f"{kind} ({source})",
    }


def nearest_qps(picture, dbs):
    """{key: QP, 1 to 51, whose H.264 intra frame of `picture` comes nearest in PSNR}.  dbs: {key: dB}.

    All 51 are coded: PSNR need not fall with every QP.
    """
    coded = {qp: psnr(picture, encode_intra(picture, qp).pixels) for qp in QP_RANGE[1:]}
    return {key: min(coded, key=lambda qp: abs(coded[qp] - db)) for key, db in dbs.items()}


def read_levels(folder, label, ratio):
    """{picture number: (JND1, JND2, JND3)}, in QF, NaN where there is no such level.

    label: "quartile" (upper: 75 % of the subjects see no difference above it), "median" or "mean" of the subjects who
    have the level; "stairs", the steps of the picture's staircase; "sur", the lowest QF at which the fitted satisfied
    user ratio is at least `ratio`.
    """
    if label == "stairs":
        file, table = read_sheet(folder, STAIRS, ("image",))
        refuse_repeats(table, "image", file)
        return {int(row.image): read_stairs(f"{file}:{row.Index}", row.qf_levels) for row in table.itertuples()}
    if label == "sur":
        _, table = read_sheet(folder, SUR, SUR[2:5], (0, 1))
        factors = table["dist_patch"].str.extract(r"_(\d+)_")[0].astype(float)
        ratios = table[list(SUR[2:5])].ge(ratio)
        lowest = ratios.mul(factors, axis=0).where(ratios).groupby(numbers_of(table)).min()
    else:
        _, table = read_sheet(folder, SAMPLES, ("image", *SAMPLES[2:]), blanks=True)
        by_picture = table.groupby(table["image"].astype(int))[list(SAMPLES[2:])]
        lowest = by_picture.mean() if label == "mean" else by_picture.quantile({"quartile": 0.75, "median": 0.5}[label])
    return {number: tuple(row) for number, *row in lowest.itertuples()}


def read_samples(folder):
    """{picture number: [JND1's, JND2's, JND3's]}, each a list of QFs, of the subjects who have the level; {} where no
    sheet has them.  A subject whose sample is a QF sees the difference there and not yet at the next higher one.
    """
    if not any(set(SAMPLES) <= header(file) for file in folder.glob("*.csv")):
        return {}
    _, table = read_sheet(folder, SAMPLES, ("image", *SAMPLES[2:]), blanks=True)
    samples = {
        int(number): [[nearest_qp(qf) for qf in rows[column].dropna()] for column in SAMPLES[2:]]
        for number, rows in table.groupby("image")
    }
    return {number: of_levels for number, of_levels in samples.items() if all(of_levels)}


def read_stairs(where, text):
    """The first three steps down from 100 of a staircase, such as "100 36 28 21 17"."""
    steps = pd.to_numeric(pd.Series(text.split()), errors="coerce").tolist()
    if not steps or steps[0] != 100 or any(not 0 <= b < a for a, b in zip(steps, steps[1:])):
        raise UserError(f"{where}: qf_levels is {text!r}; expected quality factors that fall from 100")
    return (*steps[1:4], *[np.nan] * (4 - len(steps)))


def read_sheet(folder, columns, numbers, limits=(1, 100), blanks=False):
    """(path, table) of the one CSV file in `folder` that has the `columns`, of which `numbers` are within `limits`."""
    found = [file for file in sorted(folder.glob("*.csv")) if set(columns) <= header(file)]
    if len(found) != 1:
        what = f"{' and '.join(file.name for file in found)} all have" if found else "no CSV file has"
        raise UserError(f"{folder}: {what} the columns {', '.join(columns)}; expected one such label sheet of MCL-JCI")
    return found[0], read_table(found[0], columns, dict.fromkeys(numbers, limits), blanks)


def header(file):
    with open(file, encoding="utf-8-sig", errors="replace") as lines:
        return {name.strip() for name in lines.readline().split(",")}


def numbers_of(table):
    return table["ref_img"].str.extract(r"(\d+)")[0].astype(int)


def split_by_fold(folder, fold, pictures, left_out):
    """{picture number: split}: test is `fold` of the ten-fold file, valid the next one, train the other eight."""
    _, table = read_sheet(folder, SUR, ("set",), (min(FOLDS), max(FOLDS)))
    folds = dict(zip(numbers_of(table), table["set"]))
    left_out += [f"SRC{number:02}: in no fold" for number in sorted(pictures.keys() - folds.keys())]
    names = {fold: "test", fold % max(FOLDS) + 1: "valid"}
    splits = {number: names.get(folds[number], "train") for number in pictures if number in folds}
    empty = [split for split in SPLITS if split not in splits.values()]
    if empty:
        raise UserError(f"fold {fold}: no picture for {' and '.join(empty)}; choose another --fold, or --split")
    return splits


def find_pictures(folder, root, levels):
    """({picture number: {QF: its JPEG's name}}, 0 its own, [why one is left out, ...])."""
    found = {}
    for name in find_sources(folder, SUFFIXES, root, "picture"):
        match = NAME.fullmatch(Path(name).name)
        if match:
            found.setdefault(int(match[1]), {}).setdefault(int(match[2] or 0), []).append(name)
    if not found:
        raise UserError(f"{folder}: no picture of MCL-JCI; expected names such as ImageJND_SRC01.bmp")
    pictures, left_out = {}, []
    for number, names in sorted(found.items()):
        unit = f"SRC{number:02}"
        factors = levels.get(number, ())
        wanted = [0, *(nearest_qp(factor) for factor in factors if factor == factor)]
        lacking = [f"_{qf:03}.jpg" if qf else ".bmp" for qf in wanted if qf not in names]
        twice = [names[qf] for qf in wanted if len(names.get(qf, ())) > 1]
        if not factors:
            left_out.append(f"{unit}: no row in the label sheet")
        elif len(wanted) < 4:
            left_out.append(f"{unit}: no JND{len(wanted)} in the label sheet; another --label may have one")
        elif lacking:
            left_out.append(f"{unit}: no ImageJND_{unit}{lacking[0]}")
        elif twice:
            left_out.append(f"{unit}: {' and '.join(twice[0])}; keep one of them")
        else:
            pictures[number] = {qf: of_qf[0] for qf, of_qf in names.items()}
    if not pictures:
        raise UserError(f"{folder}: no picture can be used ({len(left_out)} cannot, such as {left_out[0]})")
    return pictures, left_out
