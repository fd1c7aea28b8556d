"""`python3 -m common.prepare COMMAND ...`: datasets in the rootdir layout (see `common.dataset`).

`photos` makes one from a folder of photographs: 640 x 360 frames (see `common.photographs`) with pseudo-labels (see
`common.pseudolabels`), the frames coded at them, and a manifest.  `attention` adds computed attention maps (see
`common.map_files`).
"""

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path

from common.errors import UserError
from common.photographs import HEIGHT, LEVELS, SPLITS, WIDTH, Frame, assign, find_photographs, plan_frames
from common.pseudolabels import HIGHEST, LOWEST, PSEUDO, THRESHOLDS, find_levels


def photos(arguments):
    """Make, or go on making, the dataset; returns 1 where a photograph could not be read, else 0."""
    from common.ffmpeg import VIDEOSET_X264, find_ffmpeg
    from common.parallel import in_parallel

    started, root, folder = time.monotonic(), Path(arguments.data_dir), Path(arguments.photo_dir)
    thresholds = arguments.vmaf
    if not 100 >= thresholds[0] > thresholds[1] > thresholds[2] >= 0:
        raise UserError(f"--vmaf {thresholds}: expected three descending numbers from 100 to 0, such as 92 84 76")
    find_ffmpeg()
    names = find_photographs(folder, root)
    sound, left_out, unreadable = survey(folder, names, arguments.enlarge, arguments.jobs)
    rejected = [*unreadable.values(), *(f"{name}: {reason}" for name, reason in left_out.items())]
    try:
        splits = assign(list(sound), arguments.split, arguments.seed)
    except UserError as error:
        if not rejected:
            raise
        raise UserError(f"{error} ({len(rejected)} cannot be used, such as {printable(rejected[0])})") from None
    frames = plan_frames(sound, splits, arguments.crops, arguments.seed)
    settings = {
        "crops": arguments.crops,
        "split": arguments.split,
        "seed": arguments.seed,
        "vmaf": thresholds,
        "enlarge": arguments.enlarge,
    }
    plan = {
        "made by": "common.prepare photos",
        "labels": PSEUDO,
        "settings": settings,
        "coding": VIDEOSET_X264,
        "photographs": {name: digest for name, (digest, _) in sound.items()},
        "frames": frames,
    }
    digest = claim(root, json.loads(json.dumps(plan)), arguments.overwrite)

    todo = {frame for frame in frames if read_record(root, frame, digest) is None}
    in_parallel(
        lambda frame: make_frame(folder, root, frame, thresholds, digest),
        [f for f in frames if f in todo],
        arguments.jobs,
        "frame",
    )
    records = [read_record(root, frame, digest) for frame in frames]
    finish(root, frames, records)

    print(summary(root, frames, records, thresholds))
    encodes = sum(record["encodes"] for frame, record in zip(frames, records) if frame in todo)
    print(
        f"{len(todo)} frames made with {encodes} encodes, {len(frames) - len(todo)} were there; "
        f"{time.monotonic() - started:.0f} s"
    )
    for reason in rejected + [f"{name}: not needed for the split" for name in sound if name not in splits]:
        print(f"left out: {printable(reason)}")
    return 1 if unreadable else 0


def survey(folder, names, enlarge, jobs):
    """Decode every photograph once.

    Returns {name: (digest of its pixels, (width, height))} of those to use, {name: why} of those too small or there
    already under another name, and {name: why} of those that cannot be read.
    """
    from common.images import read_picture
    from common.parallel import in_parallel

    def look(name):
        try:
            pixels = read_picture(folder / name)
        except UserError as error:
            return str(error)
        height, width = pixels.shape[:2]
        return hashlib.sha256(f"{width}x{height}".encode() + pixels.tobytes()).hexdigest(), (width, height)

    sound, left_out, unreadable, owner = {}, {}, {}, {}
    for name, found in zip(names, in_parallel(look, names, jobs, "photograph")):
        if isinstance(found, str):
            unreadable[name] = found
            continue
        digest, (width, height) = found
        if digest in owner:
            left_out[name] = f"the same picture as {owner[digest]}"
        elif (width < WIDTH or height < HEIGHT) and not enlarge:
            left_out[name] = f"{width}x{height} is smaller than {WIDTH}x{HEIGHT}; --enlarge takes it all the same"
        else:
            owner[digest], sound[name] = name, found
    return sound, left_out, unreadable


def claim(root, plan, overwrite):
    """Write `plan` into `root`, or find it there; returns its digest.  UserError where `root` holds anything else."""
    file = root / ".prepare" / "plan.json"
    folders = [f"{level}{split}" for split in SPLITS for level in ("", *(level.lower() for level in LEVELS))]
    try:
        old = json.loads(file.read_text())
    except FileNotFoundError:
        old = None
        for path in (*(root / folder for folder in folders), root / "manifest.csv"):
            if path.is_file() or (path.is_dir() and any(path.iterdir())):
                raise UserError(
                    f"{path}: there already, and not made by this command; choose another --data_dir"
                ) from None
    except ValueError:
        old = {}
    if old is not None and (not isinstance(old, dict) or old.get("made by") != plan["made by"]):
        raise UserError(f"{file}: damaged, or of another command; choose another --data_dir")
    if old is not None and old != plan and not overwrite:
        raise UserError(
            f"{root}: holds a dataset made with {difference(old, plan)}; choose another --data_dir, or "
            "--overwrite to make it anew"
        )
    for folder in folders:  # what a killed run left half written
        for path in (root / folder).glob(".part-*"):
            path.unlink()
    if old is not None and overwrite:
        for path in (*(root / split / "JND-Levels.txt" for split in SPLITS), root / "manifest.csv"):
            path.unlink(missing_ok=True)
        for frame in (Frame(*values) for values in old["frames"]):
            for path in (frame.record(root), *frame.files(root)):
                path.unlink(missing_ok=True)
    if old != plan:
        write_json(file, plan)
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


def difference(old, new):
    """What sets two plans apart, for a person."""
    for name, value in new["settings"].items():
        if old.get("settings", {}).get(name) != value:
            return f"--{name} {old.get('settings', {}).get(name)}, not {value}"
    if old.get("photographs") != new["photographs"]:
        before, now = old.get("photographs", {}).items(), new["photographs"].items()
        return f"other photographs ({len(now - before)} are new or changed, {len(before - now)} gone or changed)"
    return "another version of this command"


def make_frame(folder, root, frame, thresholds, digest):
    """Crop, scale, search the levels, write the four pictures, then the record that says so."""
    import numpy as np
    from PIL import Image

    from common.images import read_picture, write_png

    left, top, width, height = frame.box
    photograph = Image.fromarray(read_picture(folder / frame.photograph))
    pixels = np.asarray(
        photograph.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))
    )
    try:
        levels, coded = find_levels(pixels, thresholds)
    except UserError as error:
        raise UserError(f"{frame.photograph}: {error}") from None
    for path, picture in zip(frame.files(root), [pixels, *(coded[level].pixels for level in levels)]):
        write_png(path, picture)
    write_json(
        frame.record(root),
        {"plan": digest, "levels": levels, "vmaf": [coded[level].vmaf for level in levels], "encodes": len(coded)},
    )


def read_record(root, frame, digest):
    """The record of a frame that is done under this plan, else None."""
    try:
        record = json.loads(frame.record(root).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record if record["plan"] == digest and all(path.is_file() for path in frame.files(root)) else None


def finish(root, frames, records):
    """Write the manifest and, last, the label files: a dataset without them is not finished."""
    import pandas as pd

    from common.dataset import write_levels
    from common.files import whole_file

    rows = [
        [*frame[:3], *frame.box, *record["levels"], *record["vmaf"], PSEUDO] for frame, record in zip(frames, records)
    ]
    columns = [
        "split",
        "image",
        "photograph",
        "left",
        "top",
        "width",
        "height",
        *LEVELS,
        *(f"VMAF at {level}" for level in LEVELS),
        "labels",
    ]
    with whole_file(root / "manifest.csv") as temporary:
        pd.DataFrame(rows, columns=columns).to_csv(temporary, index=False, errors="surrogateescape")
    for split in SPLITS:
        chosen = [(frame.image, record["levels"]) for frame, record in zip(frames, records) if frame.split == split]
        if chosen:
            write_levels(root / split, *zip(*chosen))


def summary(root, frames, records, thresholds):
    """The table of counts and levels a split, as text."""
    import numpy as np

    at = ", ".join(f"{threshold:g}" for threshold in thresholds)
    lines = [
        f"{root}: the levels are pseudo-labels (VMAF {at}), not human ones",
        "        frames  photographs" + "".join(f"   {level} mean, SD, range" for level in LEVELS),
    ]
    for split in (*SPLITS, "all"):
        chosen = [i for i, frame in enumerate(frames) if split in (frame.split, "all")]
        if chosen:
            levels = np.array([records[i]["levels"] for i in chosen])
            cells = [f"   {jnd.mean():5.1f} {jnd.std():4.1f}    {jnd.min():2}-{jnd.max():2}" for jnd in levels.T]
            photographs = len({frames[i].photograph for i in chosen})
            lines.append(f"{split:8}{len(chosen):6}  {photographs:11}" + "".join(cells))
    bound = sum(bool({LOWEST, HIGHEST} & set(record["levels"])) for record in records)
    if bound:
        lines.append(f"{bound} frames have a level at QP {LOWEST} or {HIGHEST}, an end of the search; look at them")
    return "\n".join(lines)


def write_json(path, content):
    from common.files import whole_file

    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content))


def printable(name):
    """A file name that need not be Unicode, as text that any terminal takes."""
    return name.encode(sys.stdout.encoding or "utf-8", "backslashreplace").decode(sys.stdout.encoding or "utf-8")


def attention(arguments):
    from common.map_files import make_maps

    return make_maps(arguments)


def whole_number(least):
    def number(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, at least {least}")
        return int(text)

    return number


def build_parser():
    parser = argparse.ArgumentParser(
        prog="python3 -m common.prepare", description="Datasets into the rootdir layout.", allow_abbrev=False
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    command = commands.add_parser(
        "photos",
        allow_abbrev=False,
        help="a folder of photographs, with pseudo-labels by VMAF",
        description="Crops of photographs as 640x360 frames with pseudo-labels, not human ones: the largest QP at "
        "which VMAF stays at or above a threshold, one a level.  Goes on where it was interrupted.",
    )
    add = command.add_argument
    add("photo_dir", metavar="PHOTO_DIR", help="folder of photographs, searched recursively")
    add("--data_dir", metavar="ROOT", required=True, help="folder of the dataset")
    add(
        "--crops",
        metavar="N",
        type=whole_number(1),
        default=4,
        help="frames a photograph, at most (default: %(default)s)",
    )
    add(
        "--split",
        metavar=("TRAIN", "VALID", "TEST"),
        type=float,
        nargs=3,
        default=[0.7, 0.15, 0.15],
        help="shares that sum to 1, or numbers, of photographs (default: 0.7 0.15 0.15)",
    )
    add("--seed", type=whole_number(0), default=0, help="draws crops and splits (default: %(default)s)")
    add(
        "--vmaf",
        metavar=LEVELS,
        type=float,
        nargs=3,
        default=list(THRESHOLDS),
        help="threshold a level (default: 92 84 76, for levels roughly where VideoSet's are)",
    )
    add(
        "--jobs",
        metavar="N",
        type=whole_number(1),
        default=cores,
        help="frames at a time (default: the cores, %(default)s)",
    )
    add("--enlarge", action="store_true", help="take photographs smaller than 640x360 too, enlarged")
    add("--overwrite", action="store_true", help="replace what this command made in ROOT with other settings")
    command.set_defaults(run=photos)

    command = commands.add_parser(
        "attention",
        allow_abbrev=False,
        help="attention maps of a dataset's pictures, computed, not measured gaze",
        description="ROOT/vatrain/ and ROOT/vavalid/ for the visual-attention tail: a gray PNG for each picture, "
        "brighter where people would probably look, computed by Boolean Map Saliency; not measured gaze.  Maps that "
        "are there are kept, your own too.",
    )
    add = command.add_argument
    add("--data_dir", metavar="ROOT", required=True, help="folder of the dataset")
    add(
        "--splits",
        metavar="SPLIT",
        nargs="+",
        choices=SPLITS,
        default=["train", "valid"],
        help="of train, valid and test (default: train valid)",
    )
    add(
        "--jobs",
        metavar="N",
        type=whole_number(1),
        default=cores,
        help="maps at a time (default: the cores, %(default)s)",
    )
    add("--overwrite", action="store_true", help="make every map named .png anew, your own ones too")
    command.set_defaults(run=attention)
    return parser


def main(arguments=None):
    arguments = build_parser().parse_args(arguments)
    return arguments.run(arguments)


if __name__ == "__main__":
    from common import cli

    cli.run(main)
