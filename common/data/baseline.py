"""The error of predicted levels, and that of the median baseline, which a model must beat."""

import numpy as np


def describe_baseline(floor, options):
    """What always answering the training median gives, for a person."""
    return f"always answering the training median gives {floor:.2f} {options.label_unit}"


def qp_mae(predicted, true):
    """Mean absolute error in QP.  Levels (N,) give a float; (N, levels) give one error a level, shape (levels,)."""
    predicted, true = np.asarray(predicted, float), np.asarray(true, float)
    if predicted.shape != true.shape or not len(true):
        raise ValueError(f"as many predictions as labels expected, at least one; got {predicted.shape}, {true.shape}")
    return np.abs(predicted - true).mean(axis=0)


def median_baseline(train_levels, levels):
    """The error, in QP, of always answering the median of `train_levels`, on `levels`: both (N,) or both (N, levels).

    Whoever has learned anything from the pictures is below it.
    """
    levels = np.asarray(levels, float)
    return qp_mae(np.broadcast_to(np.median(np.asarray(train_levels, float), axis=0), levels.shape), levels)
