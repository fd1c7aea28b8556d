"""VideoSet (arXiv 1701.01500) into the rootdir layout: `python3 -m common.prepare videoset`.

A clip's frames come from its reference, qp_00; its frames at a level from the clip as it was coded at the QP of the
level, or, where that is not there, coded here with VideoSet's settings.  `jnd` and `mean` are the columns of its label
sheets; a mean has decimals, and its frames are those of the nearest QP (halves upwards).
"""

import re
from pathlib import Path
from typing import NamedTuple

from common.core.errors import UserError
from common.data.builder import DatasetBuilder, assign_splits, find_sources
from common.data.dataset import LEVELS, SPLITS
from common.data.labelled_clip import LabelledClip
from common.data.tables import read_list, read_table, refuse_repeats
from common.media.clips import CLIP_SUFFIXES
from common.media.ffmpeg import VIDEOSET_X264
from common.media.ffmpeg_process import find_ffmpeg

NAME = re.compile(r"videoSRC(\d+)_(\d+x\d+)_(\d+)_qp_(\d+)\.\w+")  # clip, size, frame rate, QP; QP 00 is the reference
PLACES = ("1st", "2nd", "3rd")  # the sheets of the three levels
EXAMPLE = "videoSRC005_{size}_30_qp_00.264"


class Clip(NamedTuple):
    """What is there of one clip: its frame rate, and {QP: file name relative to the folder}, QP 0 the reference."""

    rate: int
    files: dict


def videoset(arguments):
    """Make, or go on making, the dataset; returns 1 where a clip had to be left out, else 0."""
    folder, root = Path(arguments.clip_dir), Path(arguments.data_dir)
    find_ffmpeg()
    levels = read_sheets(Path(arguments.sheet_dir), arguments.size, arguments.label)
    clips, seen, left_out = find_clips(folder, arguments.size, root, levels)
    splits, missing = split_clips(clips, arguments)
    left_out += missing
    units = {f"SRC{number:03}": number for number in sorted(splits)}
    sources = {
        unit: {
            "levels": levels[number],
            "files": {n: (folder / n).stat().st_size for n in clips[number].files.values()},
        }
        for unit, number in units.items()
    }
    settings = {name: getattr(arguments, name) for name in ("size", "frames", "label", "split", "clips", "seed")}
    plan = {"coding": VIDEOSET_X264, "splits": {unit: splits[number] for unit, number in units.items()}}
    making = DatasetBuilder(root, "videoset", "clip", settings, sources, plan, arguments.overwrite)

    width, height = map(int, arguments.size.split("x"))

    def make_clip(unit, target):
        number = units[unit]
        files = {qp: folder / name for qp, name in clips[number].files.items()}
        labels = f"human (VideoSet {arguments.size}, {arguments.label})"
        clip = LabelledClip(unit, splits[number], levels[number], labels, files, (height, width), clips[number].rate)
        return clip.make(unit, arguments.frames, target)

    def about(rows):
        return f"the levels are VideoSet's of {arguments.size}, column {arguments.label}, in QP"

    absent = len(levels.keys() - seen)
    not_needed = [f"{absent} of the {len(levels)} clips in the sheets: no file of {arguments.size}"] if absent else []
    return making.run(units, make_clip, arguments.jobs, about, left_out, not_needed)


def read_sheets(folder, size, label):
    """{clip number: (JND1, JND2, JND3)}, in QP, of the sheets `folder`/640x360_1st.csv, _2nd and _3rd."""
    levels = {}
    for file in (folder / f"{size}_{place}.csv" for place in PLACES):
        table = read_table(file, ("sequence_index", label), {"sequence_index": (1, 999), label: (0, 51)})
        refuse_repeats(table, "sequence_index", file)
        for number, level in zip(table["sequence_index"], table[label]):
            levels.setdefault(int(number), []).append(float(level))
    return {number: tuple(found) for number, found in levels.items() if len(found) == len(LEVELS)}


def read_samples(folder, size):
    """{clip number: (JND1's, JND2's, JND3's)}, each an array of its subjects' QPs, of the same sheets.

    A subject whose sample is QP q sees the difference at q and not yet at q - 1.
    """
    samples = {}
    for file in (folder / f"{size}_{place}.csv" for place in PLACES):
        table = read_table(file, ("sequence_index", "samples"), {"sequence_index": (1, 999)})
        refuse_repeats(table, "sequence_index", file)
        for line, number, text in table[["sequence_index", "samples"]].itertuples():
            found = read_list(text, 51, f"{file}:{line}: samples")
            samples.setdefault(int(number), []).append(found)
    return {number: tuple(found) for number, found in samples.items() if len(found) == len(LEVELS)}


def find_clips(folder, size, root, levels):
    """Find the clips of one size: {clip number: Clip} of those with a reference and `levels`, all numbers that have a
    file, [why the others of these are left out, ...].
    """
    clips, left_out, others, twice = {}, [], set(), {}
    for name in find_sources(folder, CLIP_SUFFIXES, root, "clip"):
        match = NAME.fullmatch(Path(name).name)
        if match and match[2] == size:
            number, rate, qp = (int(match[i]) for i in (1, 3, 4))
            clip = clips.setdefault(number, Clip(rate, {}))
            if clip.files.setdefault(qp, name) != name:
                twice[number] = f"SRC{number:03}: two files of QP {qp}, {clip.files[qp]} and {name}; keep one of them"
        elif match:
            others.add(match[2])
    if not clips:
        seen = f"clips of {', '.join(sorted(others))} only; choose one by --size" if others else "no clip of VideoSet"
        raise UserError(f"{folder}: {seen}; expected names such as {EXAMPLE.format(size=size)}")
    seen = set(clips)
    for number, clip in sorted(clips.items()):
        if number in twice:
            left_out.append(twice[number])
        elif number not in levels:
            left_out.append(f"SRC{number:03}: no row in the label sheets of {size}")
        elif 0 not in clip.files:
            wanted = f"videoSRC{number:03}_{size}_{clip.rate}_qp_00.264"
            left_out.append(f"SRC{number:03}: no reference; expected {wanted} beside {next(iter(clip.files.values()))}")
        else:
            continue
        del clips[number]
    if not clips:
        raise UserError(f"{folder}: no clip can be used ({len(left_out)} cannot, such as {left_out[0]})")
    return clips, seen, left_out


def split_clips(clips, arguments):
    """({clip number: split}, [why one that was asked for is left out, ...])."""
    if not arguments.clips:
        return assign_splits(sorted(clips), arguments.split, arguments.seed, "clip"), []
    asked = [(number, split) for split, numbers in zip(SPLITS, arguments.clips) for number in numbers]
    splits = dict(asked)
    for number, split in asked:
        if splits[number] != split:
            raise UserError(f"--clips: {number} is in {split} and {splits[number]}; expected each clip in one split")
    missing = [
        f"SRC{number:03}: asked for by --clips, not among those usable" for number in splits.keys() - clips.keys()
    ]
    splits = {number: split for number, split in splits.items() if number in clips}
    if not splits:
        raise UserError(f"--clips: none of them can be used; {len(clips)} others can, such as {min(clips)}")
    return splits, sorted(missing)
