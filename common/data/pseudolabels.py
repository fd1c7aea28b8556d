"""Pseudo-labels: JND levels of an image by VMAF instead of by people.

JNDk is the largest QP at which VMAF stays at or above the k-th threshold when the image is coded as VideoSet coded its
clips.  Nobody has judged these images: the labels serve to try the programs and to pretrain, and no figure from them
says anything about human vision.

The default thresholds were chosen so that the labels fall roughly where VideoSet's do at 640 x 360 (means of its `jnd`
25.9, 31.0 and 34.4): on 46 crops of 23 photographs their means were 24.7, 30.8 and 34.3, standard
deviations 2.5, 2.1 and 2.0, range 16 to 38; VideoSet's reach from 14 to 40.

The search assumes that VMAF falls with QP.  On the full curves of seven images it did between QP 10 and 48, where the
labels lie; up to QP 9 it wavered by at most 0.08, beyond QP 48 by 0.2.  Where it wavers at a threshold, the label is
one of the crossings: VMAF is at or above the threshold there, and below it one QP further.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.core.errors import UserError
from common.data.layout import LEVELS, split_folder
from common.data.levels import HIGHEST_QP, LOWEST_QP
from common.media import ffmpeg
from common.media.images import write_png

WIDTH, HEIGHT = 640, 360  # of the images for which the thresholds were chosen
THRESHOLDS = (92.0, 84.0, 76.0)
PSEUDO = "pseudo-label (VMAF)"


def find_levels(pixels: np.ndarray, thresholds: Sequence[float]) -> tuple[list[int], dict[int, ffmpeg.EncodedImage]]:
    """Return the pseudo-labels of a uint8 RGB image (H, W, 3), and {QP: EncodedImage} of all that was coded.

    There is a QP, 1 to 51, for each of the descending `thresholds`; it is 1 also where VMAF is too low even there.  A
    bisection shares its encodes between the levels and interpolates between two known points: about 10 encodes for
    three levels.  The QPs ascend by construction.  Raises UserError as `encode_intra`.
    """
    qps, coded = [], {}
    for threshold in thresholds:
        while True:
            high = min((qp for qp in coded if coded[qp].vmaf < threshold), default=HIGHEST_QP + 1)
            low = max((qp for qp in coded if qp < high), default=LOWEST_QP - 1)
            if high - low == 1:
                break
            qp = (low + high) // 2
            if low in coded and high in coded:
                above, below = coded[low].vmaf - threshold, coded[high].vmaf - threshold
                qp = min(max(round(low + (high - low) * above / (above - below)), low + 1), high - 1)
            coded[qp] = ffmpeg.encode_intra(pixels, qp, with_vmaf=True)
        qps.append(max(low, LOWEST_QP))
    return qps, coded


def write_labelled(pixels: np.ndarray, thresholds: Sequence[float], folder: Path, split: str, name: str) -> dict:
    """Write an image, and it coded at each of its labels, as `name` into subfolders of `folder`.

    Returns the labels, as columns of the manifest.
    """
    qps, coded = find_levels(pixels, thresholds)
    for level, image in zip(("", *LEVELS), [pixels, *(coded[qp].pixels for qp in qps)]):
        write_png(folder / split_folder(split, level) / name, image)
    scores = {f"VMAF at {level}": coded[qp].vmaf for level, qp in zip(LEVELS, qps)}
    return {**dict(zip(LEVELS, qps)), **scores, "unit": "QP", "labels": PSEUDO}


def check_thresholds(thresholds: Sequence[float]) -> None:
    """Raise UserError where the thresholds are not three descending VMAF scores."""
    if not 100 >= thresholds[0] > thresholds[1] > thresholds[2] >= 0:
        raise UserError(f"--vmaf {thresholds}: expected three descending numbers from 100 to 0, such as 92 84 76")


def describe_labels(rows: list[dict], thresholds: Sequence[float]) -> str:
    """Return what the labels in a manifest's rows are, for a person."""
    at = ", ".join(f"{threshold:g}" for threshold in thresholds)
    ends = sum(row[level] in (LOWEST_QP, HIGHEST_QP) for row in rows for level in LEVELS)
    remark = f"; {ends} of them at QP {LOWEST_QP} or {HIGHEST_QP}, an end of the search: check those" if ends else ""
    return f"the levels are pseudo-labels (VMAF {at}), not human ones{remark}"
