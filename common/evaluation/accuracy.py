"""How good predicted JND levels are: the papers' errors and some more, with bootstrap intervals.

An image is coded at the whole QP, 1 to 51, that is nearest to the prediction.  Where that QP is above the true level, a
viewer sees damage: an overshoot.  The loss or gain is the difference between the frame coded at that QP and the frame
coded at the true level.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from common.data.levels import HIGHEST_QP, LOWEST_QP, nearest_qp

RESAMPLES = 2000
MEASURES = {
    "MAE": ("MAE, QP", "mean absolute error, predicted (not rounded) against true level"),
    "floor": ("median baseline, QP", "the MAE of always predicting the training median"),
    "skill": ("skill", "1 - MAE / median baseline; 0 where the model has learned nothing from the images"),
    "RMSE": ("RMSE, QP", "root of the mean squared error"),
    "bias": ("bias, QP", "mean of predicted - true"),
    "Pearson": ("Pearson", "linear correlation of predicted and true levels"),
    "Spearman": ("Spearman", "correlation of their ranks"),
    "within 1": ("within 1 QP", "share of images"),
    "within 2": ("within 2 QP", "share of images"),
    "within 3": ("within 3 QP", "share of images"),
    "PSNR": ("PSNR diff., dB", "mean absolute difference between the frames coded at the predicted and the true QP"),
    "SSIM": ("SSIM diff.", "the same of SSIM"),
    "VMAF": ("VMAF diff.", "the same of VMAF"),
    "overshoot": ("overshoot", "share of images whose coded QP is above the true level: visible damage"),
    "overshoot QP": ("overshoot by, QP", "mean of coded - true, of the overshoots only"),
    "overshoot dB": ("overshoot by, dB", "mean loss of PSNR against the frame at the true QP, of the overshoots only"),
    "rate saved": ("rate saved", "share of bytes saved, against one QP (or a mix of two) that overshoots as often"),
    "satisfied": ("satisfied", "mean share of subjects who see no damage yet at the coded QP; needs their samples"),
}
"""{measure: (heading, meaning)}, in the order of the tables."""


def equal_risk(true: ArrayLike, share: float) -> tuple[int, int, float] | None:
    """Find the mixture of two neighbouring fixed QPs that overshoots as often as a model does.

    Args:
        true: The true levels in QP, (N,).
        share: The share of images in which the model overshoots.

    Returns:
        (lower QP, upper QP, weight of the upper), or None for a share of 1: any high QP overshoots that often.
    """
    shares = np.array([(qp > np.asarray(true)).mean() for qp in range(LOWEST_QP, HIGHEST_QP + 1)])
    upper = int(np.searchsorted(shares, share, side="right"))  # the first QP that overshoots more often
    if upper == len(shares):
        return None
    if upper == 0:
        return LOWEST_QP, LOWEST_QP, 0.0
    low, high = shares[upper - 1], shares[upper]
    return upper, upper + 1, float((share - low) / (high - low))


def measure(table: pd.DataFrame) -> dict[str, float]:
    """Compute the MEASURES of one model and level.

    A 95 % interval is made of the percentiles of a bootstrap that draws whole sources, because images of one source
    are alike.  There is none with fewer than three sources.

    Args:
        table: A row per image with the columns `true` and `predicted` (QP); `median` of the training labels (QP);
            `source`, the photograph or clip; `PSNR`, `SSIM`, `VMAF` of the frame at the coded QP minus those of the
            frame at the true QP; `bytes` at the coded QP; `fixed bytes` at the fixed QP of `equal_risk`; `satisfied`, a
            share of subjects.  NaN stands for an unknown value.

    Returns:
        {measure: value}, with the ends of the intervals as `MEASURE low` and `MEASURE high`.
    """
    source = pd.factorize(table["source"])[0]
    measures = {name: values.item() for name, values in _measures(table, np.ones((1, len(table)))).items()}
    if (count := source.max() + 1) >= 3:
        draws = np.random.default_rng(0).multinomial(count, [1 / count] * count, RESAMPLES)
        for name, values in _measures(table, draws[:, source]).items():
            values = values[np.isfinite(values)]
            if len(values) and np.isfinite(measures[name]):
                measures[f"{name} low"], measures[f"{name} high"] = np.percentile(values, [2.5, 97.5])
    return measures


def measure_levels(predicted: ArrayLike, true: ArrayLike, median: float, source: ArrayLike) -> dict[str, float]:
    """Compute the MEASURES that need no encoded frames, of levels (N,) in QP; see `measure`."""
    unknown = dict.fromkeys(("PSNR", "SSIM", "VMAF", "bytes", "fixed bytes", "satisfied"), np.nan)
    known = {"true": true, "predicted": predicted, "median": median, "source": source}
    return {name: value for name, value in measure(pd.DataFrame({**known, **unknown})).items() if np.isfinite(value)}


def _measures(table: pd.DataFrame, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return {measure: (draws,)} of the images of a table, each counted as often as `weights` (draws, images) say."""

    def mean(values):
        """The mean of what is known of values, (images,) or (draws, images)."""
        values = np.asarray(values, float)
        known = ~np.isnan(values)
        return (weights * np.where(known, values, 0)).sum(axis=1) / (weights * known).sum(axis=1)

    def correlation(a, b):
        a, b = (np.asarray(values) - mean(values)[:, None] for values in (a, b))
        variances = mean(a**2), mean(b**2)
        return np.where(np.minimum(*variances) > 1e-9, mean(a * b) / np.sqrt(np.prod(variances, axis=0)), np.nan)

    def ranks(values):
        """The rank of each image in each draw; equal values share one."""
        _, inverse = np.unique(values, return_inverse=True)
        counts = weights @ np.eye(inverse.max() + 1)[inverse]  # (draws, different values)
        return (np.cumsum(counts, axis=1) - counts / 2)[:, inverse]

    true, predicted = table["true"], table["predicted"]
    error, over = predicted - true, true.rsub(nearest_qp(predicted, clip=True))  # coded - true
    with np.errstate(all="ignore"):  # 0 / 0 is NaN: nothing is known, or no overshoot has a cost
        mae, baseline = mean(error.abs()), mean((table["median"] - true).abs())
        return {
            "MAE": mae,
            "floor": baseline,
            "skill": 1 - mae / baseline,
            "RMSE": np.sqrt(mean(error**2)),
            "bias": mean(error),
            "Pearson": correlation(true, predicted),
            "Spearman": correlation(ranks(true), ranks(predicted)),
            **{f"within {limit}": mean(error.abs() <= limit) for limit in (1, 2, 3)},
            **{name: mean(table[name].abs()) for name in ("PSNR", "SSIM", "VMAF")},
            "overshoot": mean(over > 0),
            "overshoot QP": mean(over.where(over > 0)),
            "overshoot dB": mean(-table["PSNR"].where(over > 0)),
            "rate saved": 1 - mean(table["bytes"]) / mean(table["fixed bytes"]),
            "satisfied": mean(table["satisfied"]),
        }
