"""A user's own clips into the rootdir layout, pseudo-labelled or with labels given: `python3 -m common.prepare clips`.

With pseudo-labels each frame stands for itself, coded as an intra frame (see `common.data.pseudolabels`).  Labels given are
of the whole clip: its frames share them, and their JND frames are those of the clip coded as VideoSet coded its own.
"""

from pathlib import Path

from common.core.errors import UserError
from common.core.files import sha256
from common.core.names import safe_stem
from common.core.threads import parallel_map
from common.data.builder import DatasetBuilder, assign_splits, find_sources
from common.data.dataset import LEVELS
from common.data.labelled_clip import LabelledClip
from common.data.pseudolabels import HEIGHT, THRESHOLDS, WIDTH, check_thresholds, explain, write_labelled
from common.data.tables import read_table, refuse_repeats
from common.media.clips import CLIP_SUFFIXES, extract_frames
from common.media.ffmpeg import VIDEOSET_X264, clip_size
from common.media.ffmpeg_process import find_ffmpeg


def clips(arguments):
    """Make, or go on making, the dataset; returns 1 where a clip had to be left out, else 0."""
    folder, root = Path(arguments.clip_dir), Path(arguments.data_dir)
    thresholds = arguments.vmaf or list(THRESHOLDS)
    check_thresholds(thresholds)
    if arguments.labels and arguments.vmaf:
        raise UserError("--labels and --vmaf: the labels are either given or found by VMAF; give one of them")
    find_ffmpeg()
    names = find_sources(folder, CLIP_SUFFIXES, root, "clip")
    fit = wanted_size(arguments)
    digests, left_out = survey(folder, names, fit, arguments.jobs)
    levels = read_labels(arguments.labels, list(digests), left_out) if arguments.labels else {}
    usable = [name for name in digests if name in levels or not arguments.labels]
    splits = assign_splits(usable, arguments.split, arguments.seed, "clip")
    digits = len(str(len(digests)))
    units = {f"{number:0{digits}}_{safe_stem(name)}": name for number, name in enumerate(digests, 1) if name in splits}
    settings = {name: getattr(arguments, name) for name in ("frames", "size", "split", "seed")}
    settings |= {"labels": bool(arguments.labels), "vmaf": None if arguments.labels else thresholds}
    sources = {name: {"digest": digests[name], "levels": levels.get(name)} for name in splits}
    plan = {"coding": VIDEOSET_X264, "units": units, "splits": splits}
    making = DatasetBuilder(root, "clips", "clip", settings, sources, plan, arguments.overwrite)

    def make_clip(unit, target):
        name, split = units[unit], splits[units[unit]]
        path = folder / name
        if not arguments.labels:
            return pseudo_labelled(path, name, split, unit, arguments.frames, fit, thresholds, target)
        labels = f"given ({Path(arguments.labels).name})"
        return LabelledClip(name, split, levels[name], labels, {0: path}, fit=fit).make(unit, arguments.frames, target)

    def about(rows):
        given = f"the levels are those of {arguments.labels}, in QP"
        return given if arguments.labels else explain(rows, thresholds)

    not_needed = [f"{name}: not needed for the split" for name in usable if name not in splits]
    return making.run(units, make_clip, arguments.jobs, about, left_out, not_needed)


def pseudo_labelled(path, clip, split, unit, choice, fit, thresholds, folder):
    """Write chosen frames of a clip, each with levels found for itself alone; returns their rows of the manifest."""
    rows = []
    for index, (number, seconds, pixels) in enumerate(extract_frames(path, choice, size=fit), 1):
        image = f"{unit}_{index}.png"
        place = {"clip": clip, "frame": number, "seconds": round(seconds, 3)}
        labels = write_labelled(pixels, thresholds, folder, split, image)
        rows.append({"split": split, "image": image, **place, **labels})
    return rows


def survey(folder, names, fit, jobs):
    """({name: digest of the file}, [why one is left out, ...]).

    Left out are clips whose first frame cannot be decoded or is smaller than `fit`, (H, W), and all but the first of
    files that are the same.
    """

    def look(name):
        try:
            height, width = clip_size(folder / name)
        except UserError as error:
            return None, str(error)
        if fit and (height < fit[0] or width < fit[1]):
            return None, f"{name}: {width}x{height} is smaller than {fit[1]}x{fit[0]}; --size own takes it as it is"
        return sha256(folder / name), None

    owner, left_out = {}, []
    for name, (digest, why) in zip(names, parallel_map(look, names, jobs, "clip")):
        if why:
            left_out.append(why)
        elif owner.setdefault(digest, name) != name:
            left_out.append(f"{name}: the same file as {owner[digest]}")
    return {name: digest for digest, name in owner.items()}, left_out


def read_labels(file, names, left_out):
    """{clip name: (JND1, JND2, JND3)} from a CSV file of the columns name, JND1, JND2, JND3, in QP.

    A name is that of the file, with or without its folder; rows and clips that are alone join `left_out`.
    """
    file = Path(file)
    table = read_table(file, ("name", *LEVELS), {level: (0, 51) for level in LEVELS})
    refuse_repeats(table, "name", file)
    levels = {}
    for line, name, *row in table.itertuples():
        found = [own for own in names if name in (own, Path(own).name)]
        if len(found) == 1:
            levels[found[0]] = tuple(row)
        else:
            few = f"matches {' and '.join(found)}; give its folder too" if found else "no such clip"
            left_out.append(f"{file}:{line}: {name}: {few}")
    left_out += [f"{name}: no row in {file}" for name in names if name not in levels]
    return levels


def wanted_size(arguments):
    """(H, W) that frames are brought to, or None: labels given are of the clip as it is, thresholds of 640x360."""
    if arguments.size == "own" or (arguments.labels and not arguments.size):
        return None
    width, height = map(int, arguments.size.split("x")) if arguments.size else (WIDTH, HEIGHT)
    return height, width
