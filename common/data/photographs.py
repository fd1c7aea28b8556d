"""Datasets of photographs: 16:9 crops of different place and scale, no photograph in two splits, with pseudo-labels."""

import functools
import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from common.core.errors import UserError, attempt
from common.core.names import safe_stem
from common.core.parallel import parallel_map
from common.core.threads import CORES
from common.data import pseudolabels
from common.data.builder import DatasetBuilder
from common.data.layout import SPLIT_SHARES
from common.data.pseudolabels import HEIGHT, THRESHOLDS, WIDTH
from common.media.ffmpeg import VIDEOSET_X264
from common.media.ffmpeg_process import find_ffmpeg
from common.media.formats import IMAGE_SUFFIXES
from common.media.images import read_image

ALIKE = 0.8  # crops of one photograph that share more of their area than this are too alike
Box = tuple[int, int, int, int]  # left, top, width, height


class Crop(NamedTuple):
    """One crop to make.  Plans on disk hold it as a list: the order of the fields must not change."""

    split: str
    image: str
    photograph: str
    box: Box


class Photograph(NamedTuple):
    """A photograph that can be used, with the digest of its pixels."""

    digest: str
    width: int
    height: int


def build_photos(
    photo_dir: str | Path,
    data_dir: str | Path,
    *,
    crops: int = 4,
    split: Sequence[float] = SPLIT_SHARES,
    seed: int = 0,
    vmaf: Sequence[float] | None = None,
    enlarge: bool = False,
    jobs: int = CORES,
    overwrite: bool = False,
) -> int:
    """Make a dataset of 640x360 crops with pseudo-labels, or go on with it.

    The parameters are the flags of `python3 -m common.prepare photos`.  Returns 1 where something was left out, else 0.
    """
    folder, thresholds = Path(photo_dir), list(vmaf or THRESHOLDS)
    pseudolabels.check_thresholds(thresholds)
    find_ffmpeg()
    builder = DatasetBuilder(data_dir, "photos", "photograph", jobs, overwrite, unit_noun="frame")
    photographs = _survey(builder, folder, enlarge)
    splits = builder.assign_splits(photographs, split, seed)
    builder.not_needed += [f"{name}: not needed for the split" for name in photographs if name not in splits]
    planned = {Path(crop.image).stem: crop for crop in plan_crops(photographs, splits, crops, seed)}
    builder.claim(
        settings={"crops": crops, "split": split, "seed": seed, "vmaf": thresholds, "enlarge": enlarge},
        sources={name: photograph.digest for name, photograph in photographs.items()},
        plan={"labels": pseudolabels.PSEUDO, "coding": VIDEOSET_X264, "frames": list(planned.values())},
    )
    units = {unit: functools.partial(_write_crop, folder, crop, thresholds) for unit, crop in planned.items()}
    return builder.run(units, functools.partial(pseudolabels.describe_labels, thresholds=thresholds))


def plan_crops(photographs: dict[str, Photograph], splits: dict[str, str], count: int, seed: int) -> list[Crop]:
    """Return up to `count` crops of each photograph that has a split, in natural order of photographs."""
    crops, digits = [], len(str(len(photographs)))
    for number, (name, (digest, width, height)) in enumerate(photographs.items(), 1):
        if name in splits:
            for index, box in enumerate(crop_boxes(width, height, count, f"{seed} {digest}"), 1):
                crops.append(Crop(splits[name], f"{number:0{digits}}_{safe_stem(name)}_{index}.png", name, box))
    return crops


def crop_boxes(width: int, height: int, count: int, seed: str) -> list[Box]:
    """Return up to `count` 16:9 boxes (left, top, width, height), from the largest possible down to 640x360, anywhere.

    There are fewer where the photograph has no room for so many that differ.  A photograph smaller than 640x360 gives
    its largest box.
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
            if all(_overlap(box, other) < ALIKE for other in boxes):
                boxes.append(box)
                break
    return boxes


def _overlap(a, b):
    """Area that two boxes share over the area that they cover, 0 to 1."""
    across, down = (max(0, min(a[i] + a[i + 2], b[i] + b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    return across * down / (a[2] * a[3] + b[2] * b[3] - across * down)


def _survey(builder, folder, enlarge):
    """Decode every photograph once: {name: Photograph} of those to use; why the others are not joins the builder."""

    def read(name):
        pixels = read_image(folder / name)
        height, width = pixels.shape[:2]
        return Photograph(hashlib.sha256(f"{width}x{height}".encode() + pixels.tobytes()).hexdigest(), width, height)

    names, usable, owner = builder.find_sources(folder, IMAGE_SUFFIXES), {}, {}
    for name, result in zip(names, parallel_map(functools.partial(attempt, read), names, builder.jobs, "photograph")):
        if isinstance(result, UserError):
            builder.left_out.append(str(result))
        elif result.digest in owner:
            builder.not_needed.append(f"{name}: the same image as {owner[result.digest]}")
        elif (result.width < WIDTH or result.height < HEIGHT) and not enlarge:
            small = f"{result.width}x{result.height} is smaller than {WIDTH}x{HEIGHT}; --enlarge uses it all the same"
            builder.not_needed.append(f"{name}: {small}")
        else:
            owner[result.digest], usable[name] = name, result
    return usable


def _write_crop(photographs, crop, thresholds, folder):
    """Crop and scale a photograph, find the labels and write all into `folder`; return the row of the manifest."""
    left, top, width, height = crop.box
    photograph = Image.fromarray(read_image(photographs / crop.photograph))
    pixels = np.asarray(
        photograph.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))
    )
    try:
        labels = pseudolabels.write_labelled(pixels, thresholds, folder, crop.split, crop.image)
    except UserError as error:
        raise UserError(f"{crop.photograph}: {error}") from None
    place = {"left": left, "top": top, "width": width, "height": height}
    return [{"split": crop.split, "image": crop.image, "photograph": crop.photograph, **place, **labels}]
