"""Levels for other shares of viewers than three quarters: the satisfied-user ratio (SUR).  `common.population` derives the table."""

import numpy as np

from common.core.errors import UserError

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
"""{level: QP to add for each of SHARES}, as the program prints it."""


def shift(level, sur):
    """The QP to add to a predicted level (1 to 3) for the satisfied-user ratio `sur`; 0 at 0.75, falling with `sur`.

    Raises UserError outside the SHARES that the samples bear out.  The sum may leave 0 to 51; clip it.
    """
    if not SHARES[0] <= sur <= SHARES[-1]:
        raise UserError(
            f"satisfied-user ratio {sur:g}: expected a share from {SHARES[0]} to {SHARES[-1]}; of viewers beyond, "
            "VideoSet's samples say too little"
        )
    return float(np.interp(sur, SHARES, SHIFTS[level]))


def sur_column(level, sur):
    """What a table calls the level "JND1" for the ratio `sur`: "JND1@0.9"; "JND1" where sur is None."""
    return level if sur is None else f"{level}@{sur:g}"


def at_sur(levels, sur):
    """{"JND1@0.9": QP from 0 to 51, ...} of {"JND1": QP, ...}; empty where sur is None."""
    if sur is None:
        return {}
    return {sur_column(name, sur): min(max(qp + shift(int(name[-1]), sur), 0.0), 51.0) for name, qp in levels.items()}


def satisfied(samples, qp):
    """The share of subjects who see no difference yet at a whole QP; samples: their levels, (N,).  Of many QPs, many.

    Source: VideoSet's satisfied-user ratio, 1 - the cumulative share of the samples.
    """
    return (np.asarray(samples) > np.asarray(qp)[..., None]).mean(axis=-1)
