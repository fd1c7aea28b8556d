# PYTHON_ARGCOMPLETE_OK
"""Levels for other shares of viewers than three quarters: a model of the population, not of the image.

A JND level is VideoSet's `jnd`: the lower quartile of its subjects' samples, so that three quarters of the viewers are
still satisfied there (satisfied-user ratio, SUR, 0.75).  How far the samples lie from it differs much more between
viewers than between clips.  `sur_shift` says how many QP further the level for another ratio lies, by the distribution
of all clips' samples around their `jnd`, the same for every image:

    qp = level + sur_shift(1, 0.9)     # of ten viewers, nine see nothing yet

A subject is satisfied at a whole QP below the sample, where the difference is first seen.  Shares are those at the next
lower whole QP; at the nearest whole QP they are lower (the table below says how much).  JND2 and JND3 were compared
with the clip at the level before: there the ratio is of those who see no further difference.

Source of the samples: VideoSet (arXiv 1701.01500).  This program derives the table and tests it:

    python3 -m common.population SHEETS/     # the folder of VideoSet's label sheets
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from common.cli import program
from common.cli.flags import groups
from common.core.errors import UserError
from common.data.levels import QUARTILE, SHARES, SHIFTS, satisfied

if TYPE_CHECKING:
    import pandas as pd

OFFSETS = np.arange(-40, 41)  # whole QPs from the label
FOLDS = 10


class Level(NamedTuple):
    """One level of one size: of each clip its number, its subjects' samples and its label, in QP."""

    numbers: np.ndarray
    samples: Sequence[np.ndarray]
    labels: np.ndarray

    def of(self, clips: np.ndarray) -> Level:
        """Return the level of some of the clips, a mask."""
        return Level(self.numbers[clips], list(itertools.compress(self.samples, clips)), self.labels[clips])

    def shares(self, qps: np.ndarray) -> np.ndarray:
        """Return the shares satisfied at whole QPs, (clips, ...): all below QP 0, none above 51."""
        shares = [satisfied(samples, of_clip) for samples, of_clip in zip(self.samples, qps)]
        return np.reshape(shares, qps.shape)  # also of no clips


def pooled_shifts(levels: Iterable[Level]) -> np.ndarray:
    """Return the shifts at SHARES by the distribution of all samples around their clip's label.

    A clip counts as much as another, however many its subjects.
    """
    shares = np.concatenate([level.shares(level.labels[:, None] + OFFSETS) for level in levels]).mean(axis=0)
    offsets = np.interp([-share for share in (*SHARES, QUARTILE)], -shares, OFFSETS)
    return offsets[:-1] - offsets[-1]


def normal_shifts(levels: Iterable[Level]) -> np.ndarray:
    """Return the shifts at SHARES by a normal distribution with the samples' standard deviation."""
    apart = [samples - label for level in levels for samples, label in zip(level.samples, level.labels)]
    quantile = NormalDist(0, np.concatenate(apart).std()).inv_cdf
    return np.array([quantile(QUARTILE) - quantile(share) for share in SHARES])


def real_shares(level: Level, qps: np.ndarray, round_down: bool = True) -> np.ndarray:
    """Return the shares really satisfied, (clips, SHARES), at decimal QPs (clips, SHARES) made whole.

    The labels are whole and predictions are not: each QP is tried at ten places within a QP, and their mean counts.
    """
    places = np.arange(-0.45, 0.5, 0.1) + (0 if round_down else 0.5)
    return level.shares(np.floor(qps[..., None] + places)).mean(axis=-1)


def calibrate(levels: Mapping[str, Level]) -> pd.DataFrame:
    """Return what is really satisfied where a ratio is asked for, of clips that the shifts do not come from.

    A tenth of the clips, in all sizes, is left out in turn.

    Args:
        levels: {size: Level} of one level.

    Returns:
        A table, a row for each ratio: `shift` of all clips; the real share of each size; `nearest`: at the nearest
        instead of the next lower QP; `lowest tenth`: a tenth of the clips is below; `median`: with the median of the
        other clips for the level, as a model that has learned nothing predicts; `normal, SIZE`: with shifts of the
        normal distribution.
    """
    import pandas as pd

    shares, numbers = {}, sorted(set().union(*(level.numbers for level in levels.values())))
    for fold in range(FOLDS):
        left_out = {size: np.isin(level.numbers, numbers[fold::FOLDS]) for size, level in levels.items()}
        others = {size: level.of(~left_out[size]) for size, level in levels.items()}
        pooled, normal = pooled_shifts(others.values()), normal_shifts(others.values())
        for size, level in levels.items():
            test = level.of(left_out[size])
            label = test.labels[:, None]
            median = np.full_like(label, np.median(others[size].labels))
            for name, given, shifts, round_down in (
                (size, label, pooled, True),
                ("nearest", label, pooled, False),
                ("median", median, pooled, True),
                (f"normal, {size}", label, normal, True),
            ):
                shares.setdefault(name, []).append(real_shares(test, given + shifts, round_down))
    shares = {name: np.concatenate(parts) for name, parts in shares.items()}
    every = np.concatenate([shares[size] for size in levels])
    table = {"asked": SHARES, "shift": pooled_shifts(levels.values())}
    table |= {name: of_name.mean(axis=0) for name, of_name in shares.items()}
    return pd.DataFrame({**table, "lowest tenth": np.quantile(every, 0.1, axis=0)})


def read_levels(folder: Path) -> dict[int, dict[str, Level]]:
    """Return {1 for JND1 ...: {size: Level}} of all sizes whose sheets are in `folder`."""
    from common.data.videoset import read_samples, read_sheets  # need pandas

    sizes = sorted(
        (f.name.removesuffix("_1st.csv") for f in folder.glob("*_1st.csv")), key=lambda size: (len(size), size)
    )
    if not sizes:
        raise UserError(f"{folder}: no label sheet of VideoSet; expected files such as 640x360_1st.csv")
    levels = {1: {}, 2: {}, 3: {}}
    for size in sizes:
        labels, samples = read_sheets(folder, size, "jnd"), read_samples(folder, size)
        numbers = sorted(labels.keys() & samples.keys())
        if len(numbers) < FOLDS:
            raise UserError(f"{folder}: {len(numbers)} clips of {size} in its sheets; expected at least {FOLDS}")
        for jnd, by_size in levels.items():
            at = jnd - 1
            of_level = [labels[n][at] for n in numbers]
            by_size[size] = Level(np.array(numbers), [samples[n][at] for n in numbers], np.array(of_level, float))
    return levels


def count_definitions(levels: Iterable[Level]) -> tuple[int, dict[str, int]]:
    """Return the number of rows, and {name of a quantile: how many rows have it as their `jnd`}."""
    quartiles: dict[str, Callable] = {
        "lower quartile, interpolated, rounded (halves upwards)": lambda s: np.floor(np.quantile(s, 0.25) + 0.5),
        "lower quartile, interpolated, not rounded": lambda s: np.quantile(s, 0.25),
        "highest QP that 75 % of the samples reach": lambda s: np.quantile(s, 0.25 + 1e-9, method="inverted_cdf"),
        "highest QP that 75 % of the samples exceed": lambda s: np.quantile(s, 0.25, method="inverted_cdf") - 1,
    }
    rows = [row for level in levels for row in zip(level.samples, level.labels)]
    return len(rows), {name: sum(of(samples) == label for samples, label in rows) for name, of in quartiles.items()}


def main(arguments: list[str] | None = None) -> int:
    """Derive the table, print it, and say how well it holds; return the exit code."""
    parser = program.Parser(["SHEETS/"], prog="python3 -m common.population", description=__doc__)
    needs, *_ = groups(parser)
    needs.add_argument("sheet_dir", type=Path, metavar="SHEETS", help="the folder of VideoSet's label sheets")
    levels = read_levels(parser.parse_args(arguments).sheet_dir)
    rows, agreeing = count_definitions(level for by_size in levels.values() for level in by_size.values())
    print(f"`jnd` of {rows} rows is the samples' ...")
    for name, count in agreeing.items():
        print(f"{count:8} {name}")
    off, shifts = {"pooled": [], "normal": []}, {}
    for jnd, by_size in levels.items():
        table = calibrate(by_size)
        shifts[jnd] = tuple((table["shift"].round(2) + 0.0).tolist())
        shown = ["asked", "shift", *by_size, "nearest", "lowest tenth", "median"]
        print(f"\nJND{jnd}: share really satisfied, of clips left out in turn")
        print(table[shown].to_string(index=False, float_format="%.2f"))
        for kind, names in (("pooled", [*by_size]), ("normal", [f"normal, {size}" for size in by_size])):
            off[kind].append(table[names].sub(table["asked"], axis=0).abs().to_numpy())
    print("\nhow far the real share is off, mean and largest of all sizes and shares")
    for kind, tables in off.items():
        texts = [f"JND{jnd} {table.mean():.3f} {table.max():.3f}" for jnd, table in enumerate(tables, 1)]
        print(f"{kind:8}{', '.join(texts)}")
    print("\nSHIFTS = {", *(f"    {jnd}: {row}," for jnd, row in shifts.items()), "}", sep="\n")
    print("as in common/data/levels.py" if shifts == SHIFTS else "other than in common/data/levels.py")
    return 0


if __name__ == "__main__":
    program.run(main)
