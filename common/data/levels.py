"""Numbers about levels: the QP nearest to a level, the error of predicted levels, and the median baseline to beat."""

from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from common.core.errors import UserError

LOWEST_QP, HIGHEST_QP = 1, 51
"""What images and clips are coded at.  At QP 0, x264 is lossless."""


@overload
def nearest_qp(levels: float, *, clip: bool = False) -> int: ...
@overload
def nearest_qp(levels: ArrayLike, *, clip: bool = False) -> np.ndarray: ...
def nearest_qp(levels, *, clip=False):
    """Return the whole QP (or QF) nearest to each level, halves upwards: an int for a number, else an int array.

    Args:
        levels: One level or an array of them, of any shape.
        clip: Bring each QP into the range that can be coded, 1 to 51.

    Raises:
        UserError: A level is NaN or infinite.
    """
    levels = np.asarray(levels, float)
    finite = np.isfinite(levels)
    if not finite.all():
        raise UserError(f"level {levels[~finite][0]}: expected a QP, a number from 0 to 51")
    qps = np.floor(levels + 0.5)
    if clip:
        qps = qps.clip(LOWEST_QP, HIGHEST_QP)
    return qps.astype(int) if qps.ndim else int(qps)


def qp_mae(predicted: ArrayLike, true: ArrayLike) -> np.ndarray | float:
    """Return the mean absolute error in QP: a float for levels (N,), one error per level for (N, levels)."""
    predicted, true = np.asarray(predicted, float), np.asarray(true, float)
    if predicted.shape != true.shape or not len(true):
        raise ValueError(f"as many predictions as labels expected, at least one; got {predicted.shape}, {true.shape}")
    return np.abs(predicted - true).mean(axis=0)


def median_baseline(train_levels: ArrayLike, levels: ArrayLike) -> np.ndarray | float:
    """Return the `qp_mae`, on `levels`, of always predicting the median of `train_levels`: both (N,) or (N, levels).

    A network that has learned anything from the images is below it.
    """
    levels = np.asarray(levels, float)
    return qp_mae(np.broadcast_to(np.median(np.asarray(train_levels, float), axis=0), levels.shape), levels)


def describe_baseline(error: float, unit: str) -> str:
    """Return one line for a person about the median baseline.  unit: QP or QF."""
    return f"always predicting the training median gives {error:.2f} {unit}"
