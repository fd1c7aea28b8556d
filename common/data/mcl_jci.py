"""MCL-JCI (HVEI 2016) into the rootdir layout.

People saw JPEGs: the levels are quality factors (QF), where a higher number is better, and JND1 > JND2 > JND3.  The
image at a level is the JPEG itself.  How the papers made QPs of QFs is not public.  Two kinds of label are on offer:

- QF, the default: people were asked for it, and nothing is added.  The programs read it by `--label_unit QF`.
- QP of the H.264 intra frame (see `common.media.ffmpeg`) whose PSNR is nearest to that of the JPEG, for mixing with
  VideoSet.  It equates two kinds of damage that PSNR cannot tell apart and people can: a computed label, and called so.
"""

import functools
import json
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.core.errors import UserError
from common.core.threads import CORES
from common.data.builder import DatasetBuilder
from common.data.layout import LEVELS, SPLITS, Unit, split_folder
from common.data.levels import HIGHEST_QP, LOWEST_QP, nearest_qp
from common.data.tables import read_header, read_table, refuse_repeats
from common.media.ffmpeg import VIDEOSET_X264, encode_intra
from common.media.ffmpeg_process import find_ffmpeg
from common.media.images import read_image, write_png
from common.media.metrics import psnr

NAME = re.compile(r"ImageJND_SRC(\d+)(?:_(\d+))?\.\w+")  # image and, of its JPEGs, QF
SUFFIXES = frozenset({".bmp", ".jpg", ".jpeg", ".png"})
FOLDS = range(1, 11)
IMAGES = range(1, 101)
SAMPLES = ("image", "subject", "jnd1_qf", "jnd2_qf", "jnd3_qf")
STAIRS = ("image", "n_levels", "qf_levels")
SAMPLE_LIMITS = {"image": IMAGES, **dict.fromkeys(SAMPLES[2:], (1, 100))}
SUR = ("ref_img", "dist_patch", "first_SUR", "second_SUR", "third_SUR", "set")
nearest_qf = nearest_qp  # a level with decimals is shown as the JPEG of the nearest QF


def build_mcl_jci(
    image_dir: str | Path,
    sheet_dir: str | Path,
    data_dir: str | Path,
    *,
    label: str = "sur",
    ratio: float = 0.75,
    unit: Unit = "QF",
    fold: int = 1,
    split: Sequence[float] | None = None,
    seed: int = 0,
    jobs: int = CORES,
    overwrite: bool = False,
) -> int:
    """Make the dataset, or go on with it.

    The parameters are the flags of `python3 -m common.prepare mcl-jci`.  Returns 1 where an image was left out, else 0.
    """
    folder, sheets = Path(image_dir), Path(sheet_dir)
    if unit == "QP":
        find_ffmpeg()
    builder = DatasetBuilder(data_dir, "mcl-jci", "source image", jobs, overwrite, unit_noun="image")
    levels, samples = read_levels(sheets, label, ratio), read_samples(sheets)
    usable = _find_images(builder, folder, levels)
    splits = builder.assign_splits(usable, split, seed) if split else _splits_by_fold(builder, sheets, fold, usable)
    images = {}
    for number in sorted(splits):
        sampled = {qf for qfs in samples.get(number, ()) for qf in qfs} if unit == "QP" else set()
        if absent := sorted(sampled - usable[number].keys()):
            name = f"SRC{number:02}"
            builder.not_needed.append(f"{name}: the subjects' samples; no ImageJND_{name}_{absent[0]:03}.jpg")
            samples.pop(number)
            sampled = set()
        needed = [0, *map(nearest_qf, levels[number]), *sorted(sampled)]
        files = {qf: folder / usable[number][qf] for qf in needed}
        images[f"SRC{number:02}"] = LabelledImage(splits[number], files, levels[number], samples.get(number))
    builder.claim(
        settings={"label": label, "ratio": ratio, "unit": unit, "fold": fold, "split": split, "seed": seed},
        sources={
            name: {
                "levels": image.levels,
                "samples": image.samples,
                "files": {path.relative_to(folder).as_posix(): path.stat().st_size for path in image.files.values()},
            }
            for name, image in images.items()
        },
        plan={"coding": VIDEOSET_X264, "splits": {name: image.split for name, image in images.items()}},
    )
    source = f"MCL-JCI, {label}" + (f" {ratio:g}" if label == "sur" else "")
    kind = f"{'human' if unit == 'QF' else 'computed from human QF: QP of the nearest PSNR'} ({source})"
    units = {name: functools.partial(image.write, name, unit, kind) for name, image in images.items()}
    remark = "; pass --label_unit QF to the programs" if unit == "QF" else ""
    return builder.run(units, lambda rows: f"the levels are {kind}, in {unit}{remark}")


@dataclass(frozen=True)
class LabelledImage:
    """An image with labels and, where they are known, those of each subject."""

    split: str
    files: Mapping[int, Path]  # {QF: JPEG} of the levels, for labels in QP of the samples too; 0 is the image itself
    levels: tuple[float, ...]  # JND1, JND2, JND3 in QF
    samples: Sequence[list[int]] | None  # the subjects' QFs at each level

    def write(self, name: str, unit: Unit, kind: str, folder: Path) -> list[dict]:
        """Write the image as `name`.png, and its JPEGs at the levels, into subfolders of `folder`.

        unit, kind: Of the labels in the manifest.  Returns the one row of it.
        """
        raw, dbs = read_image(self.files[0]), {}
        for qf, path in self.files.items():
            if qf:
                pixels = read_image(path)
                if pixels.shape != raw.shape:
                    raise UserError(f"{path}: its size is not that of {self.files[0].name}; copy both again")
                dbs[qf] = psnr(raw, pixels)
        write_png(folder / split_folder(self.split) / f"{name}.png", raw)
        shown = dict(zip(LEVELS, map(nearest_qf, self.levels)))
        for level, qf in shown.items():
            target = folder / split_folder(self.split, level) / f"{name}{self.files[qf].suffix.lower()}"
            target.parent.mkdir()
            shutil.copyfile(self.files[qf], target)
        labels, samples = self.levels, self.samples
        if unit == "QP":
            qps = nearest_qps(raw, dbs)
            labels = [qps[qf] for qf in shown.values()]
            samples = samples and [[qps[qf] for qf in qfs] for qfs in samples]
        row = {
            "split": self.split,
            "image": f"{name}.png",
            "picture": name,
            **dict(zip(LEVELS, labels)),
            **{f"QF at {level}": qf for level, qf in zip(LEVELS, self.levels)},
            **{f"source at {level}": self.files[qf].name for level, qf in shown.items()},
            **{f"PSNR at {level}": round(dbs[qf], 2) for level, qf in shown.items()},
            **{f"samples at {level}": json.dumps(values) for level, values in zip(LEVELS, samples or ())},
            "unit": unit,
            "labels": kind,
        }
        return [row]


def nearest_qps(image: np.ndarray, dbs: Mapping[int, float]) -> dict[int, int]:
    """Return {key: QP, 1 to 51, whose H.264 intra frame of `image` comes nearest in PSNR}, for `dbs`: {key: dB}.

    All 51 are coded: PSNR need not fall with every QP.
    """
    coded = {qp: psnr(image, encode_intra(image, qp).pixels) for qp in range(LOWEST_QP, HIGHEST_QP + 1)}
    return {key: min(coded, key=lambda qp: abs(coded[qp] - db)) for key, db in dbs.items()}


def read_levels(folder: Path, label: str, ratio: float) -> dict[int, tuple[float, ...]]:
    """Return {image number: (JND1, JND2, JND3)}, in QF, NaN where there is no such level.

    label: "quartile" (upper: 75 % of the subjects see no difference above it), "median" or "mean" of the subjects who
        have the level; "stairs", the steps of the image's staircase; "sur", the lowest QF at which the fitted
        satisfied user ratio is at least `ratio`.
    """
    if label == "stairs":
        file, table = _read_sheet(folder, STAIRS, {"image": IMAGES})
        refuse_repeats(table, "image", file)
        rows = table[["image", "qf_levels"]].itertuples()
        return {int(number): _read_stairs(f"{file}:{line}", text) for line, number, text in rows}
    if label == "sur":
        _, table = _read_sheet(folder, SUR, dict.fromkeys(SUR[2:5], (0, 1)))
        qfs = table["dist_patch"].str.extract(r"_(\d+)_")[0].astype(float)
        satisfied = table[list(SUR[2:5])].ge(ratio)
        levels = satisfied.mul(qfs, axis=0).where(satisfied).groupby(_image_numbers(table)).min()
    else:
        _, table = _read_sheet(folder, SAMPLES, SAMPLE_LIMITS, blanks=True)
        by_image = table.groupby(table["image"].astype(int))[list(SAMPLES[2:])]
        levels = by_image.mean() if label == "mean" else by_image.quantile({"quartile": 0.75, "median": 0.5}[label])
    return {number: tuple(row) for number, *row in levels.itertuples()}


def read_samples(folder: Path) -> dict[int, tuple[list[int], ...]]:
    """Return {image number: (JND1's, JND2's, JND3's)}, each a list of QFs, of the subjects who have the level.

    It is empty where no sheet has them.  A subject whose sample is a QF sees the difference there and not yet at the
    next higher one.
    """
    if not any(set(SAMPLES) <= read_header(file) for file in folder.glob("*.csv")):
        return {}
    _, table = _read_sheet(folder, SAMPLES, SAMPLE_LIMITS, blanks=True)
    samples = {
        int(number): tuple(
            nearest_qf(table.loc[table["image"] == number, column].dropna()).tolist() for column in SAMPLES[2:]
        )
        for number in table["image"].unique()
    }
    return {number: of_levels for number, of_levels in samples.items() if all(of_levels)}


def _read_stairs(where, text):
    """The first three steps down from 100 of a staircase, such as "100 36 28 21 17"."""
    steps = pd.Series(pd.to_numeric(pd.Series(text.split()), errors="coerce")).tolist()
    if not steps or steps[0] != 100 or any(not 0 <= b < a for a, b in zip(steps, steps[1:])):
        raise UserError(f"{where}: qf_levels is {text!r}; expected quality factors that fall from 100")
    return (*steps[1:4], *[np.nan] * (4 - len(steps)))


def _read_sheet(folder: Path, columns: Collection[str], limits: Mapping, blanks=False):
    """(path, table) of the one CSV file in `folder` that has the `columns`; limits, blanks: as in `read_table`."""
    files = [file for file in sorted(folder.glob("*.csv")) if set(columns) <= read_header(file)]
    if len(files) != 1:
        found = f"{' and '.join(file.name for file in files)} all have" if files else "no CSV file has"
        raise UserError(f"{folder}: {found} the columns {', '.join(columns)}; expected one such label sheet of MCL-JCI")
    return files[0], read_table(files[0], columns, limits, blanks)


def _image_numbers(table):
    return table["ref_img"].str.extract(r"(\d+)")[0].astype(int)


def _splits_by_fold(builder, sheets, fold, images):
    """{image number: split}: test is `fold` of the ten-fold file, valid the next one, train the other eight."""
    _, table = _read_sheet(sheets, SUR, {"set": FOLDS})
    folds = dict(zip(_image_numbers(table), table["set"]))
    builder.left_out += [f"SRC{number:02}: in no fold" for number in sorted(images.keys() - folds.keys())]
    names = {fold: "test", fold % max(FOLDS) + 1: "valid"}
    splits = {number: names.get(folds[number], "train") for number in images if number in folds}
    empty = [split for split in SPLITS if split not in splits.values()]
    if empty:
        raise UserError(f"fold {fold}: no image for {' and '.join(empty)}; choose another --fold, or --split")
    return splits


def _find_images(builder, folder, levels):
    """{image number: {QF: its JPEG's name}}, 0 the image itself, of the usable images; the others join the builder."""
    by_number = {}
    for name in builder.find_sources(folder, SUFFIXES):
        match = NAME.fullmatch(Path(name).name)
        if match:
            by_number.setdefault(int(match[1]), {}).setdefault(int(match[2] or 0), []).append(name)
    if not by_number:
        raise UserError(f"{folder}: no image of MCL-JCI; expected names such as ImageJND_SRC01.bmp")

    def problem(number, names):
        image = f"SRC{number:02}"
        if number not in levels:
            return f"{image}: no row in the label sheet"
        qfs = [0, *(nearest_qf(qf) for qf in levels[number] if np.isfinite(qf))]
        if len(qfs) < 4:
            return f"{image}: no JND{len(qfs)} in the label sheet; another --label may have one"
        if lacking := [f"_{qf:03}.jpg" if qf else ".bmp" for qf in qfs if qf not in names]:
            return f"{image}: no ImageJND_{image}{lacking[0]}"
        if repeated := [names[qf] for qf in qfs if len(names[qf]) > 1]:
            return f"{image}: {' and '.join(repeated[0])}; keep one of them"

    usable = builder.keep_usable(dict(sorted(by_number.items())), problem, folder)
    return {number: {qf: of_qf[0] for qf, of_qf in names.items()} for number, names in usable.items()}
