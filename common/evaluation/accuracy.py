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
    means, source = per_image(table), pd.factorize(table["source"])[0]
    ranked = table["predicted"].to_numpy(), table["true"].to_numpy(), source
    measures = {**_summary(means.mean()), "Spearman": spearman(*ranked, np.ones((1, source.max() + 1)))[0]}
    sums = means.groupby(source).sum()
    if len(sums) >= 3:
        draws = np.random.default_rng(0).multinomial(len(sums), [1 / len(sums)] * len(sums), RESAMPLES)
        images = draws @ np.bincount(source)
        drawn = _summary(pd.DataFrame(draws @ sums.to_numpy() / images[:, None], columns=sums.columns))
        for name, values in {**drawn, "Spearman": spearman(*ranked, draws)}.items():
            values = np.asarray(values)[np.isfinite(values)]
            if len(values) and np.isfinite(measures[name]):
                measures[f"{name} low"], measures[f"{name} high"] = np.percentile(values, [2.5, 97.5])
    return measures


def measure_levels(predicted: ArrayLike, true: ArrayLike, median: float, source: ArrayLike) -> dict[str, float]:
    """Compute the MEASURES that need no encoded frames, of levels (N,) in QP; see `measure`."""
    unknown = dict.fromkeys(("PSNR", "SSIM", "VMAF", "bytes", "fixed bytes", "satisfied"), np.nan)
    known = {"true": true, "predicted": predicted, "median": median, "source": source}
    return {name: value for name, value in measure(pd.DataFrame({**known, **unknown})).items() if np.isfinite(value)}


def spearman(a: np.ndarray, b: np.ndarray, source: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the rank correlation of a and b, both (images,), in each draw of sources; NaN where either is constant.

    Args:
        source: The number of each image's source, from 0, (images,).
        draws: How often each source is drawn, (draws, sources).
    """
    correlations = []
    for drawn in draws:
        weights = drawn[source]
        x, y = (_ranks(values, weights) for values in (a, b))
        x, y = (ranks - np.average(ranks, weights=weights) for ranks in (x, y))
        variances = [np.average(ranks**2, weights=weights) for ranks in (x, y)]
        covariance = np.average(x * y, weights=weights)
        correlations.append(covariance / np.sqrt(np.prod(variances)) if min(variances) > 1e-9 else np.nan)
    return np.array(correlations)


def _ranks(values, weights):
    """The rank of each of `values` (N,), counted as often as `weights` (N,) say; equal values share one rank."""
    _, inverse = np.unique(values, return_inverse=True)
    counts = np.bincount(inverse, weights)
    return (np.cumsum(counts) - counts / 2)[inverse]


def per_image(table: pd.DataFrame) -> pd.DataFrame:
    """Return the quantities whose means give the measures, a row per image.  table: see `measure`."""
    error, over = table["predicted"] - table["true"], nearest_qp(table["predicted"], clip=True) - table["true"]
    return pd.DataFrame(
        {
            "absolute": error.abs(),
            "squared": error**2,
            "error": error,
            "baseline": (table["median"] - table["true"]).abs(),
            **{f"within {limit}": (error.abs() <= limit) * 1.0 for limit in (1, 2, 3)},
            **{name: table[name].abs() for name in ("PSNR", "SSIM", "VMAF")},
            "over": (over > 0) * 1.0,
            "over QP": np.maximum(over, 0),
            "over dB": -table["PSNR"] * (over > 0),
            "true": table["true"],
            "true squared": table["true"] ** 2,
            "predicted": table["predicted"],
            "predicted squared": table["predicted"] ** 2,
            "product": table["predicted"] * table["true"],
            **{name: table[name] for name in ("bytes", "fixed bytes")},
            "satisfied": table["satisfied"].fillna(0),
            "sampled": table["satisfied"].notna() * 1.0,  # images without samples do not count in the mean
        }
    )


def _summary(mean):
    """The measures that follow from the means of `per_image`: numbers of a Series, columns of a table."""
    with np.errstate(all="ignore"):  # 0 / 0 is NaN: no overshoot has no cost
        variances = [mean[f"{name} squared"] - mean[name] ** 2 for name in ("true", "predicted")]
        covariance = mean["product"] - mean["true"] * mean["predicted"]
        constant = np.minimum(*variances) < 1e-9
        return {
            "MAE": mean["absolute"],
            "floor": mean["baseline"],
            "skill": 1 - np.divide(mean["absolute"], mean["baseline"]),
            "RMSE": np.sqrt(mean["squared"]),
            "bias": mean["error"],
            "Pearson": np.where(constant, np.nan, covariance / np.sqrt(np.prod(variances, axis=0)))[()],
            **{name: mean[name] for name in ("within 1", "within 2", "within 3", "PSNR", "SSIM", "VMAF")},
            "overshoot": mean["over"],
            "overshoot QP": np.divide(mean["over QP"], mean["over"]),
            "overshoot dB": np.divide(mean["over dB"], mean["over"]),
            "rate saved": 1 - np.divide(mean["bytes"], mean["fixed bytes"]),
            "satisfied": np.divide(mean["satisfied"], mean["sampled"]),
        }
