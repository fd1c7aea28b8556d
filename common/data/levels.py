"""Numbers about levels: the nearest QP, errors of predictions, the median baseline, levels for other shares of viewers.

A level holds for three quarters of the viewers.  The satisfied-user ratio (SUR) is another share of them: the table of
how many QP further its level lies is derived by `common.population`.
"""

from collections.abc import Mapping
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from common.core.errors import UserError

LOWEST_QP, HIGHEST_QP = 1, 51
"""What images and clips are coded at.  At QP 0, x264 is lossless."""
QUARTILE = 0.75  # the ratio that labels and models stand for
SHARES = tuple(round(0.05 * step, 2) for step in range(1, 20))  # beyond, one or two of a clip's 25 to 38 people decide
# fmt: off
SHIFTS = {
    1: (11.06, 9.27, 8.09, 7.15, 6.34, 5.61, 4.94, 4.3, 3.68, 3.06,
        2.45, 1.83, 1.17, 0.53, 0.0, -0.7, -1.81, -3.24, -5.65),
    2: (7.19, 5.81, 4.97, 4.31, 3.75, 3.28, 2.84, 2.42, 2.03, 1.64,
        1.29, 0.94, 0.59, 0.29, 0.0, -0.29, -0.8, -1.39, -2.3),
    3: (5.39, 4.33, 3.6, 3.17, 2.77, 2.42, 2.14, 1.87, 1.59, 1.32,
        1.04, 0.77, 0.5, 0.25, 0.0, -0.25, -0.53, -0.96, -1.39),
}
# fmt: on
"""{1 for JND1 ...: QP to add for each of SHARES}, as `common.population` prints it."""


@overload
def nearest_qp(qps: float, *, clip: bool = False) -> int: ...
@overload
def nearest_qp(qps: ArrayLike, *, clip: bool = False) -> np.ndarray: ...
def nearest_qp(qps: ArrayLike, *, clip: bool = False) -> Any:
    """Return the whole QP (or QF) nearest to each of `qps`, halves upwards: an int for a number, else an int array.

    clip: Limit each to the range that can be encoded, 1 to 51.  Raises UserError where one is NaN or infinite.
    """
    qps = np.asarray(qps, float)
    finite = np.isfinite(qps)
    if not finite.all():
        raise UserError(f"level {qps[~finite][0]}: expected a QP, a number from 0 to 51")
    whole = np.floor(qps + 0.5)
    if clip:
        whole = whole.clip(LOWEST_QP, HIGHEST_QP)
    return whole.astype(int) if whole.ndim else int(whole)


def qp_mae(predicted: ArrayLike, true: ArrayLike) -> np.ndarray | float:
    """Return the mean absolute error in QP: a float for levels (N,), one error per level for (N, levels)."""
    predicted, true = np.asarray(predicted, float), np.asarray(true, float)
    if predicted.shape != true.shape or not len(true):
        raise ValueError(f"as many predictions as labels expected, at least one; got {predicted.shape}, {true.shape}")
    return np.abs(predicted - true).mean(axis=0)


def median_baseline(train_qps: ArrayLike, qps: ArrayLike) -> np.ndarray | float:
    """Return the `qp_mae`, on `qps`, of always predicting the median of `train_qps`: both (N,) or (N, levels).

    A network that has learned anything from the images is below it.
    """
    qps = np.asarray(qps, float)
    return qp_mae(np.broadcast_to(np.median(np.asarray(train_qps, float), axis=0), qps.shape), qps)


def describe_baseline(error: float, unit: str) -> str:
    """Return one line for a person about the median baseline.  unit: QP or QF."""
    return f"always predicting the training median gives {error:.2f} {unit}"


def sur_shift(jnd: int, sur: float) -> float:
    """Return the QP to add to the level `jnd`, 1 to 3, for the satisfied-user ratio `sur`: 0 at 0.75, falling with it.

    The sum may leave 0 to 51; clip it.  Raises UserError where `sur` is not from 0.05 to 0.95.
    """
    if not SHARES[0] <= sur <= SHARES[-1]:
        raise UserError(
            f"satisfied-user ratio {sur:g}: expected a share from {SHARES[0]} to {SHARES[-1]}; of viewers beyond, "
            "VideoSet's samples say too little"
        )
    return float(np.interp(sur, SHARES, SHIFTS[jnd]))


def sur_column(level: str, sur: float | None) -> str:
    """Return what a table calls the level "JND1" for the ratio `sur`: "JND1@0.9"; "JND1" where sur is None."""
    return level if sur is None else f"{level}@{sur:g}"


def at_sur(levels: Mapping[str, float], sur: float | None) -> dict[str, float]:
    """Return {"JND1@0.9": QP from 0 to 51, ...} of {"JND1": QP, ...}; empty where sur is None."""
    if sur is None:
        return {}
    return {
        sur_column(name, sur): min(max(qp + sur_shift(int(name[-1]), sur), 0.0), 51.0) for name, qp in levels.items()
    }


def satisfied(samples: ArrayLike, qp: ArrayLike) -> np.ndarray:
    """Return the share of subjects, whose levels are `samples` (N,), who see no difference yet at each whole QP.

    Source: VideoSet's satisfied-user ratio, 1 - the cumulative share of the samples.
    """
    return (np.asarray(samples) > np.asarray(qp)[..., None]).mean(axis=-1)
