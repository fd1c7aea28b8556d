"""Datasets of photographs: 16:9 crops of different place and scale, no photograph in two splits, with pseudo-labels.

`python3 -m common.prepare photos`; what makes it go on where it stopped is in `common.data.builder`.
"""

import functools
import hashlib
import random
from pathlib import Path
from typing import NamedTuple

from common.core.errors import UserError
from common.core.names import one_line, safe_stem
from common.data.builder import DatasetBuilder, assign_splits, find_sources
from common.data.pseudolabels import HEIGHT, PSEUDO, WIDTH, check_thresholds, explain, write_labelled

ALIKE = 0.8  # crops of one photograph that share more of their area than this are too alike


class Frame(NamedTuple):
    """One frame to make: its split and file name, and the `box` (left, top, width, height) of the photograph."""

    split: str
    image: str
    photograph: str
    box: tuple[int, int, int, int]


def photos(arguments):
    """Make, or go on making, the dataset; returns 1 where a photograph could not be read, else 0."""
    from common.media.ffmpeg import VIDEOSET_X264, find_ffmpeg
    from common.media.images import IMAGE_SUFFIXES

    root, folder = Path(arguments.data_dir), Path(arguments.photo_dir)
    check_thresholds(arguments.vmaf)
    find_ffmpeg()
    names = find_sources(folder, IMAGE_SUFFIXES, root, "photograph")
    sound, not_needed, unreadable = survey(folder, names, arguments.enlarge, arguments.jobs)
    try:
        splits = assign_splits(list(sound), arguments.split, arguments.seed)
    except UserError as error:
        rejected = unreadable + not_needed
        if not rejected:
            raise
        raise UserError(f"{error} ({len(rejected)} cannot be used, such as {one_line(rejected[0])})") from None
    frames = {Path(frame.image).stem: frame for frame in plan_frames(sound, splits, arguments.crops, arguments.seed)}
    settings = {name: getattr(arguments, name) for name in ("crops", "split", "seed", "vmaf", "enlarge")}
    plan = {"labels": PSEUDO, "coding": VIDEOSET_X264, "frames": list(frames.values())}
    digests = {name: digest for name, (digest, _) in sound.items()}
    making = DatasetBuilder(root, "photos", "photograph", settings, digests, plan, arguments.overwrite)

    def make_frame(unit, target):
        return [cut(folder, frames[unit], arguments.vmaf, target)]

    not_needed += [f"{name}: not needed for the split" for name in sound if name not in splits]
    about = functools.partial(explain, thresholds=arguments.vmaf)
    return making.run(frames, make_frame, arguments.jobs, about, unreadable, not_needed, noun="frame")


def survey(folder, names, enlarge, jobs):
    """Decode every photograph once.

    Returns {name: (digest of its pixels, (width, height))} of those to use, [why, ...] of those too small or there
    already under another name, and [why, ...] of those that cannot be read.
    """
    from common.core.threads import parallel_map
    from common.media.images import read_image

    def look(name):
        try:
            pixels = read_image(folder / name)
        except UserError as error:
            return str(error)
        height, width = pixels.shape[:2]
        return hashlib.sha256(f"{width}x{height}".encode() + pixels.tobytes()).hexdigest(), (width, height)

    sound, not_needed, unreadable, owner = {}, [], [], {}
    for name, found in zip(names, parallel_map(look, names, jobs, "photograph")):
        if isinstance(found, str):
            unreadable.append(found)
            continue
        digest, (width, height) = found
        if digest in owner:
            not_needed.append(f"{name}: the same picture as {owner[digest]}")
        elif (width < WIDTH or height < HEIGHT) and not enlarge:
            small = f"{width}x{height} is smaller than {WIDTH}x{HEIGHT}; --enlarge takes it all the same"
            not_needed.append(f"{name}: {small}")
        else:
            owner[digest], sound[name] = name, found
    return sound, not_needed, unreadable


def plan_frames(sound, splits, crops, seed):
    """The frames of all photographs, in natural order of photographs."""
    frames, digits = [], len(str(len(sound)))
    for number, (name, (digest, (width, height))) in enumerate(sound.items(), 1):
        if name in splits:
            for crop, box in enumerate(crop_boxes(width, height, crops, f"{seed} {digest}"), 1):
                frames.append(Frame(splits[name], f"{number:0{digits}}_{safe_stem(name)}_{crop}.png", name, box))
    return frames


def cut(folder, frame, thresholds, target):
    """Crop and scale a frame, find its levels and write it; returns its row of the manifest."""
    import numpy as np
    from PIL import Image

    from common.media.images import read_image

    left, top, width, height = frame.box
    photograph = Image.fromarray(read_image(folder / frame.photograph))
    pixels = np.asarray(
        photograph.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))
    )
    try:
        labels = write_labelled(pixels, thresholds, target, frame.split, frame.image)
    except UserError as error:
        raise UserError(f"{frame.photograph}: {error}") from None
    place = {"left": left, "top": top, "width": width, "height": height}
    return {"split": frame.split, "image": frame.image, "photograph": frame.photograph, **place, **labels}


def crop_boxes(width, height, count, seed):
    """Up to `count` 16:9 boxes (left, top, width, height), from the largest possible down to 640 x 360, anywhere.

    Fewer where the photograph has no room for so many that differ.  One smaller than 640 x 360 gives its largest box.
    """
    chance, boxes = random.Random(seed), []
    widest = min(width, height * WIDTH / HEIGHT)
    narrowest = min(WIDTH, widest)
    for index in range(count):
        for _ in range(50):
            # Each crop has its own part of the range of scales.
            across = widest * (narrowest / widest) ** ((index + chance.random()) / count)
            across, down = max(1, round(across)), max(1, round(across * HEIGHT / WIDTH))
            box = chance.randint(0, width - across), chance.randint(0, height - down), across, down
            if all(overlap(box, other) < ALIKE for other in boxes):
                boxes.append(box)
                break
    return boxes


def overlap(a, b):
    """Area that two boxes share over the area that they cover, 0 to 1."""
    across, down = (max(0, min(a[i] + a[i + 2], b[i] + b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    return across * down / (a[2] * a[3] + b[2] * b[3] - across * down)
