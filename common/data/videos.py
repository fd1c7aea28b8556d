"""A user's own clips into the rootdir layout, with pseudo-labels or with given labels.

With pseudo-labels each frame has its own, coded as an intra frame (see `common.data.pseudolabels`).  Given labels are
of the whole clip: its frames share them, and their coded images are frames of the clip coded as VideoSet coded its own.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.core.errors import UserError, attempt
from common.core.files import sha256
from common.core.names import composed, safe_stem
from common.core.parallel import parallel_map
from common.core.threads import CORES
from common.data import pseudolabels
from common.data.builder import DatasetBuilder
from common.data.layout import LEVELS, SPLIT_SHARES, split_folder
from common.data.levels import nearest_qp
from common.data.pseudolabels import HEIGHT, THRESHOLDS, WIDTH
from common.data.tables import read_table, refuse_repeats
from common.media.clips import count_frames, extract_frames
from common.media.ffmpeg import VIDEOSET_X264, clip_format
from common.media.ffmpeg_process import find_ffmpeg
from common.media.formats import CLIP_SUFFIXES
from common.media.images import write_png


@dataclass(frozen=True)
class LabelledClip:
    """A clip with labels: all its frames share them."""

    clip: str  # its name in the manifest
    split: str
    qps: tuple[float, ...]  # JND1, JND2, JND3; one with decimals has the frames of the nearest QP, halves upwards
    kind: str  # of the labels, for the manifest
    files: Mapping[int, Path]  # {QP: path}; 0 is the clip itself, the others are the same frames coded
    own_size: tuple[int, int] | None = None  # (H, W) that its frames must have, where that is known
    rate: float | None = None  # as `extract_frames`
    size: tuple[int, int] | None = None  # likewise

    def write(self, unit: str, frames: str, folder: Path) -> list[dict]:
        """Write chosen frames, raw and coded at each level, as UNIT_1.png and so on into subfolders of a new `folder`.

        Where no file has the QP of a level, the clip is coded here.  Returns the rows of the manifest.  Raises
        UserError as `extract_frames`, and where frames of two files differ in number or size.
        """
        coded_at = dict(zip(LEVELS, map(nearest_qp, self.qps)))
        missing = {qp: folder / f"{qp}.264" for qp in coded_at.values() if qp not in self.files}
        for qp in set(coded_at.values()) - missing.keys():  # a bare bitstream that ends early looks sound
            count, due = count_frames(self.files[qp]), count_frames(self.files[0])
            if count != due:
                raise UserError(f"{self.files[qp]}: {count} frames, while {self.files[0]} has {due}; copy both again")
        folder.mkdir(parents=True)
        rows, size = [], self.own_size
        for index, (number, seconds, pixels) in enumerate(
            extract_frames(self.files[0], frames, self.rate, self.size, missing), 1
        ):
            size = size or pixels.shape[:2]
            _check_size(self.files[0], pixels, size)
            name = f"{unit}_{index}.png"
            write_png(folder / split_folder(self.split) / name, pixels)
            place = {"clip": self.clip, "frame": number, "seconds": round(seconds, 3)}
            rows.append({"split": self.split, "image": name, **place, **dict(zip(LEVELS, self.qps))})
        assert size, "extract_frames gives a frame, or raises"
        height, width = size
        for level, qp in coded_at.items():
            file = missing.get(qp) or self.files[qp]
            padded = (height + height % 2, width + width % 2) if qp in missing else size
            for (_, _, pixels), row in zip(extract_frames(file, [row["frame"] for row in rows]), rows):
                _check_size(file, pixels, padded)
                write_png(folder / split_folder(self.split, level) / row["image"], pixels[:height, :width])
                row |= {f"QP at {level}": qp, f"source at {level}": "coded here" if qp in missing else file.name}
        for file in missing.values():
            file.unlink()
        return [{**row, "unit": "QP", "labels": self.kind} for row in rows]


def build_clips(
    clip_dir: str | Path,
    data_dir: str | Path,
    *,
    labels: str | Path | None = None,
    frames: str = "scenes",
    size: str | None = None,
    vmaf: Sequence[float] | None = None,
    split: Sequence[float] = SPLIT_SHARES,
    seed: int = 0,
    jobs: int = CORES,
    overwrite: bool = False,
) -> int:
    """Make a dataset of the frames of clips, or go on with it.

    The parameters are the flags of `python3 -m common.prepare clips`.  Returns 1 where a clip was left out, else 0.
    """
    folder, thresholds = Path(clip_dir), list(vmaf or THRESHOLDS)
    pseudolabels.check_thresholds(thresholds)
    if labels and vmaf:
        raise UserError("--labels and --vmaf: the labels are either given or computed by VMAF; give one of them")
    find_ffmpeg()
    builder = DatasetBuilder(data_dir, "clips", "clip", jobs, overwrite)
    frame_size = _frame_size(size, own=bool(labels))
    digests = _survey(builder, folder, frame_size)
    given = _read_labels(builder, Path(labels), digests) if labels else {}
    usable = [name for name in digests if name in given or not labels]
    splits = builder.assign_splits(usable, split, seed)
    builder.not_needed += [f"{name}: not needed for the split" for name in usable if name not in splits]
    digits = len(str(len(digests)))
    names = {f"{number:0{digits}}_{safe_stem(name)}": name for number, name in enumerate(digests, 1) if name in splits}
    settings = {"frames": frames, "size": size, "split": split, "seed": seed, "labels": bool(labels)}
    builder.claim(
        settings={**settings, "vmaf": None if labels else thresholds},
        sources={name: {"digest": digests[name], "levels": given.get(name)} for name in splits},
        plan={"coding": VIDEOSET_X264, "units": names, "splits": splits},
    )
    units = {}
    for unit, name in names.items():
        if labels:
            kind = f"given ({Path(labels).name})"
            clip = LabelledClip(name, splits[name], given[name], kind, {0: folder / name}, size=frame_size)
            units[unit] = functools.partial(clip.write, unit, frames)
        else:
            units[unit] = functools.partial(
                _write_pseudo_labelled, folder / name, name, splits[name], unit, frames, frame_size, thresholds
            )
    if labels:
        return builder.run(units, lambda rows: f"the levels are those of {labels}, in QP")
    return builder.run(units, functools.partial(pseudolabels.describe_labels, thresholds=thresholds))


def _frame_size(size, own):
    """(H, W) that frames are scaled and cut to, or None.  own: whether they keep their size by default."""
    if size == "own" or (own and not size):
        return None
    width, height = map(int, size.split("x")) if size else (WIDTH, HEIGHT)
    return height, width


def _survey(builder, folder, size):
    """{name: digest of the file} of the usable clips; why the others are not joins the builder.

    A clip is not usable where its first frame cannot be decoded or is smaller than `size`, (H, W), nor where it is the
    same file as one before it.
    """

    def inspect(name):
        height, width = clip_format(folder / name).size
        if size and (height < size[0] or width < size[1]):
            raise UserError(f"{name}: {width}x{height} is smaller than {size[1]}x{size[0]}; --size own keeps its size")
        return sha256(folder / name)

    names, owner = builder.find_sources(folder, CLIP_SUFFIXES), {}
    for name, digest in zip(names, parallel_map(functools.partial(attempt, inspect), names, builder.jobs, "clip")):
        if isinstance(digest, UserError):
            builder.left_out.append(str(digest))
        elif owner.setdefault(digest, name) != name:
            builder.left_out.append(f"{name}: the same file as {owner[digest]}")
    return {name: digest for digest, name in owner.items()}


def _read_labels(builder, file, names: Iterable[str]):
    """{clip's name: (JND1, JND2, JND3)} from a CSV file; rows without a clip and clips without a row join the builder.

    A row names the file with or without its folder.
    """
    table = read_table(file, ("name", *LEVELS), {level: (0, 51) for level in LEVELS})
    refuse_repeats(table, "name", file)
    labels = {}
    for line, name, *row in table.itertuples():
        matches = [own for own in names if composed(name) in (composed(own), composed(Path(own).name))]
        if len(matches) == 1:
            labels[matches[0]] = tuple(row)
        else:
            problem = f"matches {' and '.join(matches)}; give its folder too" if matches else "no such clip"
            builder.left_out.append(f"{file}:{line}: {name}: {problem}")
    builder.left_out += [f"{name}: no row in {file}" for name in names if name not in labels]
    return labels


def _write_pseudo_labelled(path, clip, split, unit, frames, size, thresholds, folder):
    """Write chosen frames of a clip, each with labels of its own; return their rows of the manifest."""
    rows = []
    for index, (number, seconds, pixels) in enumerate(extract_frames(path, frames, size=size), 1):
        name = f"{unit}_{index}.png"
        place = {"clip": clip, "frame": number, "seconds": round(seconds, 3)}
        labels = pseudolabels.write_labelled(pixels, thresholds, folder, split, name)
        rows.append({"split": split, "image": name, **place, **labels})
    return rows


def _check_size(file, pixels, size):
    if pixels.shape[:2] != size:
        found, due = (f"{width}x{height}" for height, width in (pixels.shape[:2], size))
        raise UserError(f"{file}: frames of {found}; expected {due}, as its name or its reference says; copy it again")
