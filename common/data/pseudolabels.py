"""Pseudo-labels: JND levels of a frame by VMAF instead of by people.

JNDk is the largest QP at which VMAF stays at or above the k-th threshold when the frame is coded as VideoSet coded its
clips.  Nobody has judged these frames: the levels serve to exercise the programs and to pretrain, and no figure from
them says anything about human vision.

The default thresholds were chosen so that the levels fall roughly where VideoSet's do at 640 x 360 (means of its `jnd`
25.9, 31.0 and 34.4): on 46 crops of 23 photographs their means were 24.7, 30.8 and 34.3, standard
deviations 2.5, 2.1 and 2.0, range 16 to 38; VideoSet's reach from 14 to 40.

The search takes VMAF to fall with QP.  On the full curves of seven frames it did between QP 10 and 48, where the
levels lie; up to QP 9 it wavered by at most 0.08, beyond QP 48 by 0.2.  Should it waver at a threshold, the level is
one of the crossings: VMAF is at or above the threshold there, and below it one QP further.
"""

from common.core.errors import UserError
from common.data.dataset import LEVELS, split_folder

WIDTH, HEIGHT = 640, 360  # of the frames for which the thresholds were chosen
THRESHOLDS = (92.0, 84.0, 76.0)
LOWEST, HIGHEST = 1, 51  # the QPs of VideoSet's coded clips
PSEUDO = "pseudo-label (VMAF)"


def find_levels(pixels, thresholds):
    """Pseudo-labels of a uint8 RGB picture (H, W, 3): for each of the descending thresholds a QP, 1 to 51.

    Bisection that shares its encodes between the levels and, between two known points, guesses by a straight line;
    about 10 encodes for three levels.  Levels ascend by construction.  QP 1 is also the answer where even that is below
    the threshold.  Returns the levels, and {QP: `Coded`} of all that was coded.  Raises UserError as `common.media.ffmpeg`.
    """
    from common.media.ffmpeg import encode_intra

    levels, coded = [], {}
    for threshold in thresholds:
        while True:
            high = min((qp for qp in coded if coded[qp].vmaf < threshold), default=HIGHEST + 1)
            low = max((qp for qp in coded if qp < high), default=LOWEST - 1)
            if high - low == 1:
                break
            qp = (low + high) // 2
            if low in coded and high in coded:
                above, below = coded[low].vmaf - threshold, coded[high].vmaf - threshold
                qp = min(max(round(low + (high - low) * above / (above - below)), low + 1), high - 1)
            coded[qp] = encode_intra(pixels, qp, with_vmaf=True)
        levels.append(max(low, LOWEST))
    return levels, coded


def write_labelled(pixels, thresholds, folder, split, image):
    """Find the levels of a frame and write it and the frames coded at them; returns its labels as columns."""
    from common.media.images import write_png

    levels, coded = find_levels(pixels, thresholds)
    for level, picture in zip(("", *LEVELS), [pixels, *(coded[qp].pixels for qp in levels)]):
        write_png(folder / split_folder(split, level) / image, picture)
    scores = {f"VMAF at {level}": coded[qp].vmaf for level, qp in zip(LEVELS, levels)}
    return {**dict(zip(LEVELS, levels)), **scores, "unit": "QP", "labels": PSEUDO}


def check_thresholds(thresholds):
    if not 100 >= thresholds[0] > thresholds[1] > thresholds[2] >= 0:
        raise UserError(f"--vmaf {thresholds}: expected three descending numbers from 100 to 0, such as 92 84 76")


def explain(rows, thresholds):
    """What the labels of a manifest's rows are, for a person."""
    at = ", ".join(f"{threshold:g}" for threshold in thresholds)
    bound = sum(row[level] in (LOWEST, HIGHEST) for row in rows for level in LEVELS)
    remark = f"; {bound} of them at QP {LOWEST} or {HIGHEST}, an end of the search: look at those" if bound else ""
    return f"the levels are pseudo-labels (VMAF {at}), not human ones{remark}"
