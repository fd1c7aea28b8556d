"""A dataset in the making: can be killed at any time, goes on where it stopped, never mixes two settings.

A unit (a clip, a crop of a photograph) is made in a folder of its own below ROOT/.prepare, and moved to its place when
it is whole; its record says so.  The manifest and the label files come last: without them a dataset is not finished.
"""

import json
import os
import random
import shutil
import time
from pathlib import Path

from common.core.errors import UserError
from common.core.files import write_json
from common.core.names import one_line
from common.data.dataset import LEVELS, SPLITS, split_folder


class DatasetBuilder:
    """A dataset that `command` makes in `root` from sources, each called a `noun`, such as a clip.

    settings: {flag: value}.  sources: {name: what tells it from another of that name}.  plan: what else decides what is
    made.  Raises UserError where `root` holds anything else, or was made otherwise and `overwrite` is false.
    """

    def __init__(self, root, command, noun, settings, sources, plan, overwrite=False):
        self.root, self.noun, self.started = Path(root), noun, time.monotonic()
        self.plan = {"made by": f"common.prepare {command}", "settings": settings, "sources": sources, "plan": plan}
        self.plan = json.loads(json.dumps(self.plan))
        self._claim(overwrite)

    def run(self, units, work, jobs, about, left_out=(), not_needed=(), noun=None):
        """Make those of the `units`, names of files, that are not made yet; finish; print what there is now.

        work(unit, folder) writes what belongs to `root` into `folder`, in the same subfolders, and returns the unit's
        rows of the manifest.  A unit whose work raises UserError is left out; UserError where all are.
        about(rows) tells what the labels are.  left_out, not_needed: what was not even tried, a line each.
        Returns the exit code: 1 where something failed or was `left_out`, else 0.
        """
        from common.core.threads import parallel_map
        from common.media.ffmpeg_process import kill_all

        todo, noun = [unit for unit in units if self.rows(unit) is None], noun or self.noun
        outcomes = parallel_map(lambda unit: self._make(unit, work), todo, jobs, noun, stop=kill_all)
        failed = [why for why in outcomes if why]
        made = [rows for rows in map(self.rows, units) if rows]
        if not made:
            more = f" (and {len(failed) - 1} more {noun}s failed)" if len(failed) > 1 else ""
            raise UserError(f"{failed[0] if failed else f'{self.root}: nothing to make'}{more}")
        rows = [row for rows in made for row in rows]
        self._finish(rows)
        new = len(todo) - len(failed)
        print(f"{self.root}: {about(rows)}\n{self._summary(rows)}")
        print(f"{new} {noun}s made, {len(made) - new} were there; {time.monotonic() - self.started:.0f} s")
        for why in (*left_out, *failed, *not_needed):
            print(f"left out: {one_line(why)}")
        return 1 if left_out or failed else 0

    def rows(self, unit):
        """The manifest's rows of a unit that is made, with all its files, else None."""
        record = self._read(self._record(unit))
        return record["rows"] if all((self.root / file).is_file() for file in record["files"]) else None

    def _finish(self, rows):
        """Write the manifest of `rows`, dicts with at least split, image and the levels, and the label files."""
        import pandas as pd

        from common.core.files import write_csv
        from common.data.labels import write_labels

        table = pd.DataFrame(rows)
        write_csv(table, self.root / "manifest.csv")
        for split, part in table.groupby("split"):
            write_labels(self.root / split, part["image"], part[list(LEVELS)].to_numpy())

    def _summary(self, rows):
        """The table of counts and levels a split, as text."""
        import pandas as pd

        table = pd.DataFrame(rows)
        lines = [f"        frames  {self.noun:>11}s" + "".join(f"   {level} mean, SD, range" for level in LEVELS)]
        for split in (*SPLITS, "all"):
            part = table if split == "all" else table[table["split"] == split]
            if len(part):
                cells = [
                    f"   {jnd.mean():5.1f} {jnd.std(ddof=0):4.1f}  {f'{jnd.min():.0f}-{jnd.max():.0f}':>7}"
                    for _, jnd in part[list(LEVELS)].items()
                ]
                lines.append(f"{split:8}{len(part):6}  {part[self.noun].nunique():12}" + "".join(cells))
        return "\n".join(lines)

    def _make(self, unit, work):
        folder = self.root / ".prepare" / unit
        try:
            rows = work(unit, folder)
            files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
            # The record first: whatever reaches its place is then known as ours.
            write_json(self._record(unit), {"files": files, "rows": rows})
            for file in files:
                (self.root / file).parent.mkdir(exist_ok=True)
                os.replace(folder / file, self.root / file)
        except UserError as error:
            return str(error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _record(self, unit):
        return self.root / ".prepare" / f"{unit}.json"

    @staticmethod
    def _read(record):
        try:
            return json.loads(record.read_text())
        except (FileNotFoundError, ValueError):
            return {"files": [], "rows": None}

    def _claim(self, overwrite):
        """Write the plan into `root`, or find it there."""
        root, file = self.root, self.root / ".prepare" / "plan.json"
        folders = [split_folder(split, level) for split in SPLITS for level in ("", *LEVELS)]
        try:
            old = json.loads(file.read_text())
        except FileNotFoundError:
            old = None
            for path in (*(root / folder for folder in folders), root / "manifest.csv"):
                if path.is_file() or (path.is_dir() and any(path.iterdir())):
                    raise UserError(
                        f"{path}: there already, and not made by this command; choose another --data_dir"
                    ) from None
        except ValueError:
            old = {}
        if old is not None and (not isinstance(old, dict) or old.get("made by") != self.plan["made by"]):
            raise UserError(f"{file}: damaged, or of another command; choose another --data_dir")
        if old is not None and old.keys() != self.plan.keys():
            raise UserError(
                f"{root}: made by an earlier version of this command; delete it, or choose another --data_dir"
            )
        if old is not None and old != self.plan and not overwrite:
            raise UserError(
                f"{root}: holds a dataset made with {self._difference(old)}; choose another --data_dir, or "
                "--overwrite to make it anew"
            )
        for path in (root / ".prepare").glob("*"):
            if path.is_dir():  # what a killed run left half made
                shutil.rmtree(path)
        if old is not None and overwrite:
            for path in (*(root / split / "JND-Levels.txt" for split in SPLITS), root / "manifest.csv"):
                path.unlink(missing_ok=True)
            for record in (root / ".prepare").glob("*.json"):
                if record != file:
                    for made in self._read(record)["files"]:
                        (root / made).unlink(missing_ok=True)
                    record.unlink()
        if old != self.plan:
            write_json(file, self.plan)

    def _difference(self, old):
        """What sets two plans apart, for a person."""
        for name, value in self.plan["settings"].items():
            if old.get("settings", {}).get(name) != value:
                return f"--{name} {old.get('settings', {}).get(name)}, not {value}"
        before, now = old.get("sources", {}), self.plan["sources"]
        new, gone = (sum(b.get(name) != a[name] for name in a) for a, b in ((now, before), (before, now)))
        if new or gone:
            return f"other {self.noun}s ({new} are new or changed, {gone} gone or changed)"
        return "another version of this command"


def assign_splits(names, split, seed, noun="photograph"):
    """{name: split}, drawn from `seed`.  split: three shares that sum to 1, or three whole numbers of names."""
    shares = abs(sum(split) - 1) < 1e-6
    if min(split) < 0 or not (shares or (sum(split) > 1 and all(part.is_integer() for part in split))):
        raise UserError(f"--split {split}: expected three shares that sum to 1, or three whole numbers of {noun}s")
    needed = sum(part > 0 for part in split) if shares else int(sum(split))
    if len(names) < needed:
        raise UserError(
            f"{len(names)} usable {noun}s, but --split needs at least {needed}: none may be in two "
            f"splits; add {noun}s or change --split"
        )
    sizes = [int(part) for part in split]
    if shares:  # at least one each, then one more where most is missing
        sizes = [max(int(part * len(names)), int(part > 0)) for part in split]
        while sum(sizes) > len(names):
            sizes[sizes.index(max(sizes))] -= 1
        while sum(sizes) < len(names):
            missing = [part * len(names) - size for part, size in zip(split, sizes)]
            sizes[missing.index(max(missing))] += 1
    order = sorted(names)
    random.Random(f"split {seed}").shuffle(order)
    return dict(zip(order, [name for name, size in zip(SPLITS, sizes) for _ in range(size)]))


def find_sources(folder, suffixes, root, noun):
    """Names, relative to `folder`, of the files of these suffixes anywhere below it but in `root`, in natural order.

    Raises UserError, which calls them `noun`s, where there are none.  Hidden files and folders do not count.
    """
    from common.core.names import natural_key

    folder, own = Path(folder), Path(root).resolve()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected {noun}s in it")
    if folder.resolve() == own:
        raise UserError(f"{root}: holds the {noun}s; choose another --data_dir")
    names = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and path.is_file() and own not in path.resolve().parents
    ]
    names = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    if not names:
        raise UserError(f"{folder}: no {noun}s; expected files ending in {' '.join(sorted(suffixes))}")
    return sorted(names, key=natural_key)
