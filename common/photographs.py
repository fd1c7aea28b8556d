"""Frames from photographs: 16:9 crops of different place and scale, split so that no photograph is in two splits."""

import random
from pathlib import Path
from typing import NamedTuple

from common.errors import UserError

SPLITS = ("train", "valid", "test")
LEVELS = ("JND1", "JND2", "JND3")
WIDTH, HEIGHT = 640, 360
ALIKE = 0.8  # crops of one photograph that share more of their area than this are too alike


class Frame(NamedTuple):
    """One frame to make: its split and file name, and the `box` (left, top, width, height) of the photograph."""

    split: str
    image: str
    photograph: str
    box: tuple[int, int, int, int]

    def files(self, root):
        """The frame itself, and as coded at JND1, JND2 and JND3."""
        return [root / f"{level}{self.split}" / self.image for level in ("", *map(str.lower, LEVELS))]

    def record(self, root):
        """What is known of the frame once all its files are there."""
        return root / ".prepare" / f"{self.image}.json"


def find_photographs(folder, root):
    """Names, relative to `folder`, of the pictures anywhere below it but in `root`, in natural order."""
    from common.dataset import natural_key
    from common.images import PICTURE_SUFFIXES

    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected photographs in it")
    if folder.resolve() == root.resolve():
        raise UserError(f"{root}: holds the photographs; choose another --data_dir")
    own = root.resolve()
    names = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file() and own not in path.resolve().parents
    ]
    names = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    if not names:
        raise UserError(f"{folder}: no photographs; expected files ending in {' '.join(sorted(PICTURE_SUFFIXES))}")
    return sorted(names, key=natural_key)


def assign(names, split, seed):
    """{name: split}, drawn from `seed`.  split: three shares that sum to 1, or three whole numbers of photographs."""
    shares = abs(sum(split) - 1) < 1e-6
    if min(split) < 0 or not (shares or (sum(split) > 1 and all(part.is_integer() for part in split))):
        raise UserError(f"--split {split}: expected three shares that sum to 1, or three whole numbers of photographs")
    needed = sum(part > 0 for part in split) if shares else int(sum(split))
    if len(names) < needed:
        raise UserError(
            f"{len(names)} usable photographs, but --split needs at least {needed}: none may be in two "
            "splits; add photographs or change --split"
        )
    sizes = [int(part) for part in split]
    if shares:  # at least one each, then one more where most is missing
        sizes = [max(int(part * len(names)), int(part > 0)) for part in split]
        while sum(sizes) > len(names):
            sizes[sizes.index(max(sizes))] -= 1
        while sum(sizes) < len(names):
            missing = [part * len(names) - size for part, size in zip(split, sizes)]
            sizes[missing.index(max(missing))] += 1
    order = sorted(names)
    random.Random(f"split {seed}").shuffle(order)
    return dict(zip(order, [name for name, size in zip(SPLITS, sizes) for _ in range(size)]))


def plan_frames(sound, splits, crops, seed):
    """The frames of all photographs, in natural order of photographs."""
    frames, digits = [], len(str(len(sound)))
    for number, (name, (digest, (width, height))) in enumerate(sound.items(), 1):
        stem = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in Path(name).stem)[:40]
        if name in splits:
            for crop, box in enumerate(crop_boxes(width, height, crops, f"{seed} {digest}"), 1):
                frames.append(Frame(splits[name], f"{number:0{digits}}_{stem}_{crop}.png", name, box))
    return frames


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
