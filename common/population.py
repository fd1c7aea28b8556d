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

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from common.cli import program
from common.cli.flags import groups
from common.core.errors import UserError
from common.data.levels import QUARTILE, SHARES, SHIFTS, satisfied

if TYPE_CHECKING:
    import pandas as pd

OFFSETS = np.arange(-40, 41)  # whole QPs from the label
FOLDS = 10


class Level:
    """One level of one size: labels (clips,), and the share satisfied at each whole QP 0 to 51, (clips, 52)."""

    def __init__(self, numbers: Sequence[int], samples: Sequence[np.ndarray], labels: Sequence[float]):
        self.numbers, self.samples, self.labels = np.array(numbers), samples, np.array(labels, float)
        self.shares = np.array([satisfied(of_clip, np.arange(52)) for of_clip in samples])

    def at(self, qps: np.ndarray, clips: np.ndarray) -> np.ndarray:
        """Return the shares at whole QPs (clips, many) of the `clips`, a mask: all below QP 0, none above 51."""
        qps, shares = np.asarray(qps).astype(int), self.shares[clips]
        inside = np.take_along_axis(shares, qps.clip(0, 51), axis=1)
        return np.where(qps < 0, 1.0, np.where(qps > 51, 0.0, inside))

    def around(self, clips: np.ndarray) -> np.ndarray:
        """Return the shares at OFFSETS from the label, (clips, OFFSETS), of the `clips`, a mask."""
        return self.at(self.labels[clips, None] + OFFSETS, clips)


Part = tuple[Level, np.ndarray]  # a level, and the mask of some of its clips


def pooled_shifts(parts: Iterable[Part]) -> np.ndarray:
    """Return the shifts at SHARES by the distribution of all samples around their clip's label.

    A clip counts as much as another, however many its subjects.
    """
    shares = np.concatenate([level.around(clips) for level, clips in parts]).mean(axis=0)
    offsets = np.interp([-share for share in (*SHARES, QUARTILE)], -shares, OFFSETS)
    return offsets[:-1] - offsets[-1]


def normal_shifts(parts: Iterable[Part]) -> np.ndarray:
    """Return the shifts at SHARES by a normal distribution with the samples' standard deviation."""
    apart = [level.samples[clip] - level.labels[clip] for level, clips in parts for clip in np.flatnonzero(clips)]
    quantile = NormalDist(0, np.concatenate(apart).std()).inv_cdf
    return np.array([quantile(QUARTILE) - quantile(share) for share in SHARES])


def real_shares(level: Level, clips: np.ndarray, qps: np.ndarray, round_down: bool = True) -> np.ndarray:
    """Return the shares really satisfied, (clips, SHARES), at decimal QPs (clips, SHARES) made whole.

    The labels are whole and predictions are not: each QP is tried at ten places within a QP, and their mean counts.
    """
    places = np.arange(-0.45, 0.5, 0.1)
    whole = [np.floor(qps + place + (0 if round_down else 0.5)) for place in places]
    return np.mean([level.at(at, clips) for at in whole], axis=0)


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
        tests = {size: np.isin(level.numbers, numbers[fold::FOLDS]) for size, level in levels.items()}
        rest = [(level, ~tests[size]) for size, level in levels.items()]
        pooled, normal = pooled_shifts(rest), normal_shifts(rest)
        for size, level in levels.items():
            label = level.labels[tests[size], None]
            median = np.full_like(label, np.median(level.labels[~tests[size]]))
            for name, given, shifts, round_down in (
                (size, label, pooled, True),
                ("nearest", label, pooled, False),
                ("median", median, pooled, True),
                (f"normal, {size}", label, normal, True),
            ):
                shares.setdefault(name, []).append(real_shares(level, tests[size], given + shifts, round_down))
    shares = {name: np.concatenate(parts) for name, parts in shares.items()}
    every = np.concatenate([shares[size] for size in levels])
    everything = [(level, np.ones(len(level.numbers), bool)) for level in levels.values()]
    table = {"asked": SHARES, "shift": pooled_shifts(everything)}
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
            by_size[size] = Level(numbers, [samples[n][at] for n in numbers], [labels[n][at] for n in numbers])
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
