"""What every command that makes a dataset shares: it can be killed at any time, goes on where it stopped, and never
mixes two settings.

A unit (a clip, a crop of a photograph) is written into a folder of its own below ROOT/.prepare, and moved to its place
when it is whole; its record says so.  The manifest and the label files come last: without them it is not finished.

The recipe for a dataset NAME, a file of its own; its flags and a line of the table go into `common.prepare`:

    builder = DatasetBuilder(data_dir, NAME, "clip", jobs, overwrite)
    names = builder.find_sources(folder, CLIP_SUFFIXES)          # add to builder.left_out which cannot be used, and why
    splits = builder.assign_splits(names, split, seed)           # {name: split}
    builder.claim(settings={"seed": seed, ...}, sources={name: digest, ...}, plan={"splits": splits, ...})
    return builder.run({unit: functools.partial(write_clip, ...), ...}, describe)     # write_clip(..., folder) -> rows
"""

import json
import os
import random
import re
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from common.core.errors import UserError, attempt
from common.core.files import read_json, walk, write_csv, write_json
from common.core.messages import note
from common.core.names import composed, natural_key, one_line
from common.core.parallel import parallel_map
from common.core.stopping import keeping, scratch
from common.data.labels import write_labels
from common.data.layout import LABEL_FILE, LEVELS, SPLITS, split_folder
from common.data.tables import MANIFEST, source_column
from common.media.ffmpeg_process import kill_all

FILE = re.compile(rf"(jnd[123])?({'|'.join(SPLITS)})/[^/\0.][^/\0]*")  # of a dataset, below its root


class DatasetBuilder:
    """A dataset that a command makes in a folder."""

    def __init__(
        self, root: str | Path, command: str, noun: str, jobs: int, overwrite: bool = False, unit_noun: str = ""
    ):
        """Write nothing yet.

        Args:
            root: The folder of the dataset.
            command: Of `common.prepare`.
            noun: What a source is called, such as clip.
            jobs: How many threads work at a time.
            overwrite: Replace what this command made in `root` with other settings.
            unit_noun: What a unit is called, by default as a source.
        """
        self.root, self.command, self.noun, self.unit_noun = Path(root), command, noun, unit_noun or noun
        self.jobs, self.overwrite, self.started = jobs, overwrite, time.monotonic()
        self.left_out: list[str] = []  # why sources cannot be used, a line each
        self.not_needed: list[str] = []  # why other sources were not used, a line each

    def find_sources(self, folder: str | Path, suffixes: Collection[str]) -> list[str]:
        """Return the names, relative to `folder`, of the files of these suffixes below it, in natural order.

        Hidden files and folders, and those in the dataset itself, do not count.  Raises UserError where there are none.
        """
        folder, own = Path(folder), self.root.resolve()
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; expected {self.noun}s in it")
        if folder.resolve() == own:
            raise UserError(f"{self.root}: holds the {self.noun}s; choose another --data_dir")
        names = [
            path.relative_to(folder).as_posix()
            for place, _, files in walk(folder)
            for path in (Path(place, file) for file in files)
            if path.suffix.lower() in suffixes and path.is_file() and own not in path.resolve().parents
        ]
        names = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
        if not names:
            raise UserError(f"{folder}: no {self.noun}s; expected files ending in {' '.join(sorted(suffixes))}")
        return sorted(names, key=natural_key)

    def keep_usable(self, sources: dict[Any, Any], problem: Callable[[Any, Any], str | None], folder: Path) -> dict:
        """Return the sources of `folder`, {key: source}, but those with a `problem(key, source)`.

        A problem is a line for a person, and joins `left_out`.  Raises UserError where no source can be used.
        """
        problems = {key: problem(key, source) for key, source in sources.items()}
        self.left_out += filter(None, problems.values())
        usable = {key: source for key, source in sources.items() if not problems[key]}
        if not usable:
            reason = f"{len(self.left_out)} cannot, such as {self.left_out[0]}"
            raise UserError(f"{folder}: no {self.noun} can be used ({reason})")
        return usable

    def assign_splits(self, names: Iterable, split: Sequence[float], seed: int) -> dict:
        """Return {name: split} of the usable sources, drawn from `seed`, in whatever order their names are.

        split: Of train, valid and test, three shares that sum to 1, or three whole numbers of sources; beyond these,
        sources have no split.  Raises UserError where it is neither, or there are too few sources.
        """
        order = sorted(names, key=lambda name: composed(name) if isinstance(name, str) else name)
        split = [float(part) for part in split]
        shares = abs(sum(split) - 1) < 1e-6
        if min(split) < 0 or not (shares or (sum(split) > 1 and all(part.is_integer() for part in split))):
            raise UserError(
                f"--split {split}: expected three shares that sum to 1, or three whole numbers of {self.noun}s"
            )
        needed = sum(part > 0 for part in split) if shares else int(sum(split))
        if len(order) < needed:
            rejected = self.left_out + self.not_needed
            for line in rejected:
                print(f"left out: {one_line(line)}", file=sys.stderr)
            more = f" ({len(rejected)} cannot be used, such as {one_line(rejected[0])})" if rejected else ""
            raise UserError(
                f"{len(order)} usable {self.noun}s, but --split needs at least {needed}: none may be in two "
                f"splits; add {self.noun}s or change --split{more}"
            )
        sizes = [int(part) for part in split]
        if shares:  # at least one each, then one more where most is missing
            sizes = [max(int(part * len(order)), int(part > 0)) for part in split]
            while sum(sizes) > len(order):
                sizes[sizes.index(max(sizes))] -= 1
            while sum(sizes) < len(order):
                missing = [part * len(order) - size for part, size in zip(split, sizes)]
                sizes[missing.index(max(missing))] += 1
        random.Random(f"split {seed}").shuffle(order)
        return dict(zip(order, [name for name, size in zip(SPLITS, sizes) for _ in range(size)]))

    def claim(self, settings: Mapping[str, Any], sources: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
        """Write down in `root` what will be made, or find there that the same was begun.

        Args:
            settings: {flag: value}.
            sources: {name: what tells the source from another of that name, such as a digest}.
            plan: What else decides the result.

        Raises UserError where `root` holds anything else, or was made with other settings and `overwrite` is false.
        """
        new = {"made by": f"common.prepare {self.command}", "settings": settings, "sources": sources, "plan": plan}
        new = json.loads(json.dumps(new))
        file = self.root / ".prepare" / "plan.json"
        old = read_json(file)
        if not file.exists():
            self._refuse_strangers()
        else:
            self._compare(file, old, new)
            if self.overwrite:
                self._remove(file)
        for path in file.parent.glob("*"):
            if path.is_dir():  # a killed run left it
                shutil.rmtree(path)
        if old != new:
            write_json(file, new)

    def run(self, units: Mapping[str, Callable[[Path], list[dict]]], describe: Callable[[list[dict]], str]) -> int:
        """Make the units that are not made yet, finish the dataset, print a summary.

        Args:
            units: {name: function}.  The function writes what belongs to `root` into the folder that it is given, in
                the same subfolders, and returns the unit's rows of the manifest: dicts with at least split, image and
                the levels (all rows of a dataset may have None for JND2 and JND3).  It is called in threads.  Where it
                raises UserError, the unit is left out.
            describe: Given all rows, it says for a person what the labels are.

        Returns:
            The exit code: 1 where a unit failed or a source was left out, else 0.  UserError where all units failed.
        """
        with keeping(f"{self.root}; the same command does the rest"):
            todo = [unit for unit in units.items() if self.rows(unit[0]) is None]
            problems = parallel_map(lambda unit: attempt(self._make, *unit), todo, self.jobs, self.unit_noun, kill_all)
            failed = [str(problem) for problem in problems if problem]
            made = [rows for rows in map(self.rows, units) if rows]
            if not made:
                more = f" (and {len(failed) - 1} more {self.unit_noun}s failed)" if len(failed) > 1 else ""
                raise UserError(f"{failed[0] if failed else f'{self.root}: nothing to make'}{more}")
            rows = [row for rows in made for row in rows]
            table = pd.DataFrame(rows)
            write_csv(table, self.root / MANIFEST)
            for split, part in table.groupby("split"):
                write_labels(self.root / str(split), part["image"], part[list(LEVELS)].to_numpy(float))
        new = len(todo) - len(failed)
        print(f"{self.root}: {describe(rows)}\n{self._summary(table)}")
        note(f"{new} {self.unit_noun}s made, {len(made) - new} were there; {time.monotonic() - self.started:.0f} s")
        empty = [f"{split}/" for split in SPLITS if failed and split not in set(table["split"])]
        if empty:
            print(
                f"warning: nothing in {' and '.join(empty)}: each {self.unit_noun} for it failed, or --split gives none"
            )
        for line in (*self.left_out, *failed, *self.not_needed):
            print(f"left out: {one_line(line)}")
        return 1 if self.left_out or failed else 0

    def rows(self, unit: str) -> list[dict] | None:
        """Return the manifest's rows of a unit that is made, with all its files, else None."""
        record = _read_record(self._record(unit))
        return record["rows"] if record and all((self.root / file).is_file() for file in record["files"]) else None

    def _summary(self, table):
        """The table of counts and levels of each split, as text."""
        levels = [level for level in LEVELS if table[level].notna().all()]
        lines = [f"        frames  {self.noun + 's':>13}" + "".join(f"   {level} mean, SD, range" for level in levels)]
        for split in (*SPLITS, "all"):
            part = table if split == "all" else table[table["split"] == split]
            if len(part):
                cells = [
                    f"   {labels.mean():5.1f} {labels.std(ddof=0):4.1f}  {f'{labels.min():.0f}-{labels.max():.0f}':>7}"
                    for _, labels in part[levels].items()
                ]
                sources = part[source_column(table) or "image"].nunique()
                lines.append(f"{split:8}{len(part):6}  {sources:13}" + "".join(cells))
        return "\n".join(lines)

    def _make(self, unit, write):
        """Make a unit; raise UserError where it fails."""
        with scratch(self.root / ".prepare" / unit) as folder:
            rows = write(folder)
            files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
            # The record first: every file at its place is then known as ours.
            write_json(self._record(unit), {"files": files, "rows": rows})
            for file in files:
                (self.root / file).parent.mkdir(exist_ok=True)
                os.replace(folder / file, self.root / file)

    def _record(self, unit):
        return self.root / ".prepare" / f"{unit}.json"

    def _refuse_strangers(self):
        """Raise UserError where `root` has files of a dataset that has no plan."""
        folders = [self.root / split_folder(split, level) for split in SPLITS for level in ("", *LEVELS)]
        for path in (*folders, self.root / MANIFEST):
            if path.is_file() or (path.is_dir() and any(path.iterdir())):
                raise UserError(f"{path}: there already, and not made by this command; choose another --data_dir")

    def _compare(self, file, old, new):
        """Raise UserError where the plan `old`, in `file`, and the plan `new` do not go together."""
        if (
            not isinstance(old, dict)
            or old.get("made by") != new["made by"]
            or any(type(old[key]) is not type(new[key]) for key in old.keys() & new.keys())
        ):
            raise UserError(f"{file}: damaged, or of another command; choose another --data_dir")
        if old.keys() != new.keys():
            raise UserError(
                f"{self.root}: made by an earlier version of this command; delete it, or choose another --data_dir"
            )
        if old != new and not self.overwrite:
            raise UserError(
                f"{self.root}: holds a dataset made with {self._difference(old, new)}; choose another --data_dir, or "
                "--overwrite to make it anew"
            )

    def _difference(self, old, new):
        """What sets two plans apart, for a person."""
        for flag, value in new["settings"].items():
            if old["settings"].get(flag) != value:
                return f"--{flag} {old['settings'].get(flag)}, not {value}"
        before, now = old["sources"], new["sources"]
        added, gone = (sum(b.get(name) != a[name] for name in a) for a, b in ((now, before), (before, now)))
        if added or gone:
            return f"other {self.noun}s ({added} are new or changed, {gone} gone or changed)"
        return "another version of this command"

    def _remove(self, plan):
        """Remove what was made with another `plan`, the file; the label files and the manifest first."""
        for path in (*(self.root / split / LABEL_FILE for split in SPLITS), self.root / MANIFEST):
            path.unlink(missing_ok=True)
        for record in plan.parent.glob("*.json"):
            if record != plan:
                for file in (_read_record(record) or {"files": []})["files"]:
                    (self.root / file).unlink(missing_ok=True)
                record.unlink()


def _read_record(file: Path) -> dict[str, list] | None:
    """Return the record of a unit, {"files": names below the root, "rows": of the manifest}; None where it is damaged.

    What it names may be removed, so that nothing outside the folders of a dataset may stand in it.
    """
    record = read_json(file)
    try:
        sound = (
            all(FILE.fullmatch(name) for name in record["files"])
            and record["rows"]
            and all(
                row["split"] in SPLITS
                and isinstance(row["image"], str)
                and 0 <= row["JND1"] <= 100
                and all(row[level] is None or 0 <= row[level] <= 100 for level in LEVELS[1:])
                for row in record["rows"]
            )
        )
    except (KeyError, TypeError):
        return None
    return record if sound else None
