"""Levels for other shares of viewers than three quarters: a model of the population, not of the picture.

A JND level is VideoSet's `jnd`: the lower quartile of its subjects' samples, so that three quarters of the viewers are
still satisfied there (satisfied-user ratio, SUR, 0.75).  How far the samples lie from it differs much more between
viewers than between clips.  `shift` says how many QP further the level for another ratio lies, by the distribution of
all clips' samples around their `jnd`, the same for every picture:

    qp = level + shift(1, 0.9)     # of ten viewers, nine see nothing yet

A subject is satisfied at a whole QP below the sample, where the difference is first seen.  Shares are those at the next
lower whole QP; at the nearest whole QP they are lower (the table below says how much).  JND2 and JND3 were judged
against the clip at the level before: there the ratio is of those who see no further difference.

Source of the samples: VideoSet (arXiv 1701.01500).  The table is derived and put to the test by

    python3 -m common.population SHEETS/     # the folder of VideoSet's label sheets
"""

from pathlib import Path

import numpy as np

from common.core.errors import UserError
from common.data.sur import QUARTILE, SHARES, SHIFTS, satisfied

OFFSETS = np.arange(-40, 41)  # whole QPs from the label
FOLDS = 10


class Level:
    """One level of one size: labels (clips,), and the share satisfied at each whole QP 0 to 51, (clips, 52)."""

    def __init__(self, numbers, samples, labels):
        self.numbers, self.samples, self.labels = np.array(numbers), samples, np.array(labels, float)
        self.shares = np.array([satisfied(of_clip, np.arange(52)) for of_clip in samples])

    def at(self, levels, clips=slice(None)):
        """The shares at whole QPs `levels` (clips, many) of some clips; all are satisfied below 0, none above 51."""
        qps, shares = np.asarray(levels).astype(int), self.shares[clips]
        inside = np.take_along_axis(shares, qps.clip(0, 51), axis=1)
        return np.where(qps < 0, 1.0, np.where(qps > 51, 0.0, inside))

    def around(self, clips):
        """The shares at OFFSETS from the label, (clips, OFFSETS)."""
        return self.at(self.labels[clips, None] + OFFSETS, clips)


def pooled(parts):
    """Shifts at SHARES by the distribution of all samples around their clip's label.  parts: [(Level, clips), ...].

    A clip counts as much as another, however many its subjects.
    """
    shares = np.concatenate([part.around(clips) for part, clips in parts]).mean(axis=0)
    found = np.interp([-share for share in (*SHARES, QUARTILE)], -shares, OFFSETS)
    return found[:-1] - found[-1]


def normal(parts):
    """The same by a normal distribution with the samples' standard deviation."""
    from statistics import NormalDist

    apart = [part.samples[clip] - part.labels[clip] for part, clips in parts for clip in np.flatnonzero(clips)]
    quantile = NormalDist(0, np.concatenate(apart).std()).inv_cdf
    return np.array([quantile(QUARTILE) - quantile(share) for share in SHARES])


def real(part, clips, levels, round_down=True):
    """The shares really satisfied, (clips, SHARES), at decimal levels (clips, SHARES) made whole QPs.

    The labels are whole and predictions are not: each level is taken at ten places within a QP, and their mean counts.
    """
    places = np.arange(-0.45, 0.5, 0.1)
    whole = [np.floor(levels + place + (0 if round_down else 0.5)) for place in places]
    return np.mean([part.at(qps, clips) for qps in whole], axis=0)


def calibrate(levels):
    """What is really satisfied where a ratio is asked for, of clips that the shifts do not come from.

    levels: {size: Level} of one level.  A tenth of the clips, in all sizes, is left out in turn.  Returns a table, a
    row a ratio: `shift` of all clips; the real share of each size; `nearest`: at the nearest instead of the next lower
    QP; `lowest tenth`: a tenth of the clips is below; `median`: with the median of the other clips for the level, as a
    model answers that has learned nothing; `normal, SIZE`: with shifts of the normal distribution.
    """
    import pandas as pd

    found, numbers = {}, sorted(set().union(*(part.numbers for part in levels.values())))
    for fold in range(FOLDS):
        tests = {size: np.isin(part.numbers, numbers[fold::FOLDS]) for size, part in levels.items()}
        rest = [(part, ~tests[size]) for size, part in levels.items()]
        by_pooled, by_normal = pooled(rest), normal(rest)
        for size, part in levels.items():
            label = part.labels[tests[size], None]
            median = np.full_like(label, np.median(part.labels[~tests[size]]))
            for name, given, shifts, down in (
                (size, label, by_pooled, True),
                ("nearest", label, by_pooled, False),
                ("median", median, by_pooled, True),
                (f"normal, {size}", label, by_normal, True),
            ):
                found.setdefault(name, []).append(real(part, tests[size], given + shifts, down))
    found = {name: np.concatenate(shares) for name, shares in found.items()}
    every = np.concatenate([found[size] for size in levels])
    table = {"asked": SHARES, "shift": pooled([(part, slice(None)) for part in levels.values()])}
    table |= {name: shares.mean(axis=0) for name, shares in found.items()}
    return pd.DataFrame({**table, "lowest tenth": np.quantile(every, 0.1, axis=0)})


def read_levels(folder):
    """{level: {size: Level}} of all sizes whose sheets are in `folder`."""
    from common.data.videoset import read_samples, read_sheets

    sizes = sorted(
        (f.name.removesuffix("_1st.csv") for f in folder.glob("*_1st.csv")), key=lambda size: (len(size), size)
    )
    if not sizes:
        raise UserError(f"{folder}: no label sheet of VideoSet; expected files such as 640x360_1st.csv")
    found = {1: {}, 2: {}, 3: {}}
    for size in sizes:
        labels, samples = read_sheets(folder, size, "jnd"), read_samples(folder, size)
        numbers = sorted(labels.keys() & samples.keys())
        if len(numbers) < FOLDS:
            raise UserError(f"{folder}: {len(numbers)} clips of {size} in its sheets; expected at least {FOLDS}")
        for level, parts in found.items():
            of_level = [[by_clip[number][level - 1] for number in numbers] for by_clip in (samples, labels)]
            parts[size] = Level(numbers, *of_level)
    return found


def definition(parts):
    """How many of the rows have which quantile of their samples as their `jnd`: {name: count}."""
    quartiles = {
        "lower quartile, interpolated, rounded (halves upwards)": lambda s: np.floor(np.quantile(s, 0.25) + 0.5),
        "lower quartile, interpolated, not rounded": lambda s: np.quantile(s, 0.25),
        "highest QP that 75 % of the samples reach": lambda s: np.quantile(s, 0.25 + 1e-9, method="inverted_cdf"),
        "highest QP that 75 % of the samples exceed": lambda s: np.quantile(s, 0.25, method="inverted_cdf") - 1,
    }
    rows = [row for part in parts for row in zip(part.samples, part.labels)]
    counts = {name: sum(of(samples) == label for samples, label in rows) for name, of in quartiles.items()}
    return len(rows), counts


def main(arguments=None):
    """Derive the table, print it, and say how well it holds; returns the exit code."""
    from common.cli import program

    parser = program.Parser(prog="python3 -m common.population", description=__doc__)
    parser.add_argument("sheet_dir", type=Path, metavar="SHEETS", help="the folder of VideoSet's label sheets")
    levels = read_levels(parser.parse_args(arguments).sheet_dir)
    parts = [part for of_level in levels.values() for part in of_level.values()]
    rows, agreeing = definition(parts)
    print(f"`jnd` of {rows} rows is the samples' ...")
    for name, count in agreeing.items():
        print(f"{count:8} {name}")
    off, shifts = {"pooled": [], "normal": []}, {}
    for level, of_level in levels.items():
        table = calibrate(of_level)
        shifts[level] = tuple((table["shift"].round(2) + 0.0).tolist())
        shown = ["asked", "shift", *of_level, "nearest", "lowest tenth", "median"]
        print(f"\nJND{level}: share really satisfied, of clips left out in turn")
        print(table[shown].to_string(index=False, float_format="%.2f"))
        for kind, names in (("pooled", [*of_level]), ("normal", [f"normal, {size}" for size in of_level])):
            off[kind].append(table[names].sub(table["asked"], axis=0).abs().to_numpy())
    print("\nhow far the real share is off, mean and largest of all sizes and shares")
    for kind, tables in off.items():
        texts = [f"JND{level} {table.mean():.3f} {table.max():.3f}" for level, table in enumerate(tables, 1)]
        print(f"{kind:8}{', '.join(texts)}")
    print("\nSHIFTS = {", *(f"    {level}: {row}," for level, row in shifts.items()), "}", sep="\n")
    print("as in common/population.py" if shifts == SHIFTS else "other than in common/population.py")
    return 0


if __name__ == "__main__":
    from common.cli import program

    program.run(main)
