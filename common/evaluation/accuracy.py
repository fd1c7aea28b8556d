"""How good predicted JND levels are: the papers' errors and some more, with bootstrap intervals.

A prediction is coded at the nearest whole QP from 1 to 51.  Where that is above the true level, a viewer sees damage:
an overshoot.  What is lost or won is the difference between the frame coded there and the one coded at the true level.
"""

import numpy as np
import pandas as pd

RESAMPLES = 2000
MEASURES = {
    "MAE": ("MAE, QP", "mean absolute error, predicted (not rounded) against true level"),
    "floor": ("floor, QP", "the MAE of always answering the training median"),
    "skill": ("skill", "1 - MAE / floor; 0 where nothing was learned of the pictures"),
    "RMSE": ("RMSE, QP", "root of the mean squared error"),
    "bias": ("bias, QP", "mean of predicted - true"),
    "Pearson": ("Pearson", "linear correlation of predicted and true levels"),
    "Spearman": ("Spearman", "correlation of their ranks"),
    "within 1": ("within 1 QP", "share of pictures"),
    "within 2": ("within 2 QP", "share of pictures"),
    "within 3": ("within 3 QP", "share of pictures"),
    "PSNR": ("PSNR, dB", "mean absolute difference between the frames coded at the predicted and at the true QP"),
    "SSIM": ("SSIM", "likewise"),
    "VMAF": ("VMAF", "likewise"),
    "overshoot": ("overshoot", "share of pictures whose coded QP is above the true level: visible damage"),
    "overshoot QP": ("its cost, QP", "mean of coded - true, of the overshoots"),
    "overshoot dB": ("its cost, dB", "mean PSNR lost against the frame at the true QP, of the overshoots"),
    "rate saved": (
        "rate saved",
        "share of bytes saved against one fixed QP for all pictures that overshoots as often on the same pictures "
        "(between two QPs, the mixture that does)",
    ),
    "satisfied": (
        "satisfied",
        "mean share of subjects who see no damage yet at the coded QP; where their samples are given",
    ),
}
"""{measure: (heading, meaning)}, in the order of the tables."""


def coded_qp(levels):
    """The whole QPs, 1 to 51, at which levels (N,) are coded: the nearest, halves upwards."""
    return np.clip(np.floor(np.asarray(levels, float) + 0.5), 1, 51).astype(int)


def equal_risk(true, share):
    """(lower QP, upper QP, weight of the upper): the fixed QPs whose mixture overshoots in `share` of the pictures.

    None where that is all of them: any high QP does.
    """
    risks = np.array([(qp > np.asarray(true)).mean() for qp in range(1, 52)])
    upper = int(np.searchsorted(risks, share, side="right"))  # the first that overshoots more often
    if upper == len(risks):
        return None
    if upper == 0:
        return 1, 1, 0.0
    low, high = risks[upper - 1], risks[upper]
    return upper, upper + 1, float((share - low) / (high - low))


def measure(table, seed=0):
    """The MEASURES of one model and level, as a dict: the measure, and its 95 % interval as `MEASURE low`, `high`.

    table: a row a picture: `true`, `predicted` (QP); `median` of the training labels; `source`, the photograph or clip;
        `PSNR`, `SSIM`, `VMAF`: those of the frame at the coded QP minus those at the true one; `bytes` at the coded QP
        and `fixed bytes` at the fixed QP of equal risk; `satisfied`, a share.  NaN where not known.
    The intervals are percentiles of a bootstrap, which draws whole sources, because pictures of one source are alike;
    none where there are fewer than three.
    """
    means, source = per_picture(table), pd.factorize(table["source"])[0]
    ranks = table["predicted"].to_numpy(), table["true"].to_numpy(), source
    found = {**summary(means.mean()), "Spearman": spearman(*ranks, np.ones((1, source.max() + 1)))[0]}
    sums = means.groupby(source).sum()
    if len(sums) >= 3:
        draws = np.random.default_rng(seed).multinomial(len(sums), [1 / len(sums)] * len(sums), RESAMPLES)
        pictures = draws @ np.bincount(source)
        drawn = summary(pd.DataFrame(draws @ sums.to_numpy() / pictures[:, None], columns=sums.columns))
        for name, values in {**drawn, "Spearman": spearman(*ranks, draws)}.items():
            values = np.asarray(values)[np.isfinite(values)]
            if len(values) and np.isfinite(found[name]):
                found[f"{name} low"], found[f"{name} high"] = np.percentile(values, [2.5, 97.5])
    return found


def spearman(a, b, source, draws):
    """The rank correlation of a and b (pictures,) in each of many draws of sources; NaN where either is flat.

    source: the number, from 0, of each picture's source.  draws: how often each source is drawn, (draws, sources).
    """
    found = []
    for drawn in draws:
        weights = drawn[source]
        x, y = (_ranks(values, weights) for values in (a, b))
        x, y = (ranks - np.average(ranks, weights=weights) for ranks in (x, y))
        spreads = [np.average(ranks**2, weights=weights) for ranks in (x, y)]
        covariance = np.average(x * y, weights=weights)
        found.append(covariance / np.sqrt(np.prod(spreads)) if min(spreads) > 1e-9 else np.nan)
    return np.array(found)


def _ranks(values, weights):
    """The rank of each of `values` (N,) where each stands as often as `weights` say; equal ones share theirs."""
    _, inverse = np.unique(values, return_inverse=True)
    counts = np.bincount(inverse, weights)
    return (np.cumsum(counts) - counts / 2)[inverse]


def per_picture(table):
    """What the measures are made of, a row a picture."""
    error, over = table["predicted"] - table["true"], coded_qp(table["predicted"]) - table["true"]
    return pd.DataFrame(
        {
            "absolute": error.abs(),
            "squared": error**2,
            "error": error,
            "floor": (table["median"] - table["true"]).abs(),
            **{f"within {limit}": (error.abs() <= limit) * 1.0 for limit in (1, 2, 3)},
            **{name: table[name].abs() for name in ("PSNR", "SSIM", "VMAF")},
            "over": (over > 0) * 1.0,
            "over QP": over.clip(lower=0),
            "over dB": -table["PSNR"] * (over > 0),
            "true": table["true"],
            "true squared": table["true"] ** 2,
            "predicted": table["predicted"],
            "predicted squared": table["predicted"] ** 2,
            "product": table["predicted"] * table["true"],
            **{name: table[name] for name in ("bytes", "fixed bytes")},
            "satisfied": table["satisfied"].fillna(0),
            "sampled": table["satisfied"].notna() * 1.0,  # the others have no share in the mean
        }
    )


def summary(mean):
    """The measures that follow from the means of `per_picture`: one number each, or as many as `mean` has rows."""
    with np.errstate(all="ignore"):  # 0 / 0 is NaN: no overshoot has no cost
        spreads = [mean[f"{name} squared"] - mean[name] ** 2 for name in ("true", "predicted")]
        covariance = mean["product"] - mean["true"] * mean["predicted"]
        flat = np.minimum(*spreads) < 1e-9
        return {
            "MAE": mean["absolute"],
            "floor": mean["floor"],
            "skill": 1 - np.divide(mean["absolute"], mean["floor"]),
            "RMSE": np.sqrt(mean["squared"]),
            "bias": mean["error"],
            "Pearson": np.where(flat, np.nan, covariance / np.sqrt(np.prod(spreads, axis=0)))[()],
            **{name: mean[name] for name in ("within 1", "within 2", "within 3", "PSNR", "SSIM", "VMAF")},
            "overshoot": mean["over"],
            "overshoot QP": np.divide(mean["over QP"], mean["over"]),
            "overshoot dB": np.divide(mean["over dB"], mean["over"]),
            "rate saved": 1 - np.divide(mean["bytes"], mean["fixed bytes"]),
            "satisfied": np.divide(mean["satisfied"], mean["sampled"]),
        }
