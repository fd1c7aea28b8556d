"""VideoSet (arXiv 1701.01500) into the rootdir layout.

A clip's frames come from its reference, qp_00; their coded images come from the clip as it was coded at the QP of the
level, or, where that is not there, coded here with VideoSet's settings.  `jnd` and `mean` are columns of its label
sheets; a mean has decimals, and its images are those of the nearest QP (halves upwards).
"""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.core.errors import UserError
from common.core.threads import CORES
from common.data.builder import DatasetBuilder
from common.data.layout import SPLIT_SHARES, SPLITS
from common.data.tables import read_list, read_table, refuse_repeats
from common.data.videos import LabelledClip
from common.media.ffmpeg import VIDEOSET_X264
from common.media.ffmpeg_process import find_ffmpeg
from common.media.formats import CLIP_SUFFIXES

NAME = re.compile(r"videoSRC(\d+)_(\d+x\d+)_(\d+)_qp_(\d+)\.\w+")  # clip, size, frame rate, QP; QP 00 is the reference
PLACES = ("1st", "2nd", "3rd")  # the sheets of the three levels
EXAMPLE = "videoSRC005_{size}_30_qp_00.264"


class Clip(NamedTuple):
    """The files of one clip: its frame rate, and {QP: file name relative to the folder}, QP 0 the reference."""

    rate: int
    files: dict[int, str]


def build_videoset(
    clip_dir: str | Path,
    sheet_dir: str | Path,
    data_dir: str | Path,
    *,
    size: str = "640x360",
    label: str = "jnd",
    frames: str = "1s",
    split: Sequence[float] = SPLIT_SHARES,
    clips: Sequence[Sequence[int]] | None = None,
    seed: int = 0,
    jobs: int = CORES,
    overwrite: bool = False,
) -> int:
    """Make the dataset, or go on with it.

    The parameters are the flags of `python3 -m common.prepare videoset`.  Returns 1 where a clip was left out, else 0.
    """
    folder = Path(clip_dir)
    find_ffmpeg()
    builder = DatasetBuilder(data_dir, "videoset", "clip", jobs, overwrite)
    labels = read_sheets(Path(sheet_dir), size, label)
    usable = _find_clips(builder, folder, size, labels)
    splits = _splits_by_number(builder, clips, usable) if clips else builder.assign_splits(usable, split, seed)
    numbers = {f"SRC{number:03}": number for number in sorted(splits)}
    builder.claim(
        settings={"size": size, "frames": frames, "label": label, "split": split, "clips": clips, "seed": seed},
        sources={
            unit: {
                "levels": labels[number],
                "files": {name: (folder / name).stat().st_size for name in usable[number].files.values()},
            }
            for unit, number in numbers.items()
        },
        plan={"coding": VIDEOSET_X264, "splits": {unit: splits[number] for unit, number in numbers.items()}},
    )
    width, height = map(int, size.split("x"))
    kind, units = f"human (VideoSet {size}, {label})", {}
    for unit, number in numbers.items():
        files = {qp: folder / name for qp, name in usable[number].files.items()}
        clip = LabelledClip(unit, splits[number], labels[number], kind, files, (height, width), usable[number].rate)
        units[unit] = functools.partial(clip.write, unit, frames)
    return builder.run(units, lambda rows: f"the levels are VideoSet's of {size}, column {label}, in QP")


def read_sheets(folder: Path, size: str, label: str) -> dict[int, tuple[float, ...]]:
    """Return {clip number: (JND1, JND2, JND3)}, in QP, from `folder`/640x360_1st.csv, _2nd and _3rd."""
    return _read_column(folder, size, label, {label: (0, 51)}, lambda qp, where: float(qp))


def read_samples(folder: Path, size: str) -> dict[int, tuple[np.ndarray, ...]]:
    """Return {clip number: (JND1's, JND2's, JND3's)}, each an array of its subjects' QPs, from the same sheets.

    A subject whose sample is QP q sees the difference at q and not yet at q - 1.
    """
    return _read_column(folder, size, "samples", {}, lambda text, where: read_list(text, 51, where))


def _read_column(folder, size, column, limits, convert):
    """{clip number: the values of a column in the three sheets}, of clips that are in all; convert(field, where)."""
    values = {}
    for file in (folder / f"{size}_{place}.csv" for place in PLACES):
        table = read_table(file, ("sequence_index", column), {"sequence_index": range(1, 1000), **limits})
        refuse_repeats(table, "sequence_index", file)
        for line, number, field in table[["sequence_index", column]].itertuples():
            values.setdefault(int(number), []).append(convert(field, f"{file}:{line}: {column}"))
    return {number: tuple(of_clip) for number, of_clip in values.items() if len(of_clip) == len(PLACES)}


def _find_clips(builder, folder, size, labels):
    """{clip number: Clip} of the clips of one size with a reference and `labels`; the others join the builder."""
    clips, other_sizes, repeated = {}, set(), {}
    for name in builder.find_sources(folder, CLIP_SUFFIXES):
        match = NAME.fullmatch(Path(name).name)
        if match and match[2] == size:
            number, rate, qp = (int(match[i]) for i in (1, 3, 4))
            clip = clips.setdefault(number, Clip(rate, {}))
            if clip.files.setdefault(qp, name) != name:
                repeated[number] = f"two files of QP {qp}, {clip.files[qp]} and {name}; keep one of them"
        elif match:
            other_sizes.add(match[2])
    if not clips:
        found = f"clips of {', '.join(sorted(other_sizes))} only; choose one by --size"
        found = found if other_sizes else "no clip of VideoSet"
        raise UserError(f"{folder}: {found}; expected names such as {EXAMPLE.format(size=size)}")
    absent = len(labels.keys() - clips.keys())
    if absent:
        builder.not_needed.append(f"{absent} of the {len(labels)} clips in the sheets: no file of {size}")

    def problem(number, clip):
        name = f"SRC{number:03}"
        if number in repeated:
            return f"{name}: {repeated[number]}"
        if number not in labels:
            return f"{name}: no row in the label sheets of {size}"
        if 0 not in clip.files:
            reference = f"video{name}_{size}_{clip.rate}_qp_00.264"
            return f"{name}: no reference; expected {reference} next to {next(iter(clip.files.values()))}"

    return builder.keep_usable(dict(sorted(clips.items())), problem, folder)


def _splits_by_number(builder, numbers, clips):
    """{clip number: split} as --clips asks; clips that cannot be used join the builder."""
    asked = [(number, split) for split, of_split in zip(SPLITS, numbers) for number in of_split]
    splits = dict(asked)
    for number, split in asked:
        if splits[number] != split:
            raise UserError(f"--clips: {number} is in {split} and {splits[number]}; expected each clip in one split")
    missing = sorted(splits.keys() - clips.keys())
    builder.left_out += [f"SRC{number:03}: asked for by --clips, not among those usable" for number in missing]
    splits = {number: split for number, split in splits.items() if number in clips}
    if not splits:
        raise UserError(f"--clips: none of them can be used; {len(clips)} others can, such as {min(clips)}")
    return splits
