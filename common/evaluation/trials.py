"""The models' own `test` commands, run for the weight files that are there.

Each is a process of its own: memory is that of one model, and `common` need not know the scripts.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from common.core.environment import PROJECT
from common.core.errors import UserError
from common.core.files import atomic_write
from common.data.tables import read_table


class Run(NamedTuple):
    """A model's test.  level: 1 to 3, None where it answers all.  result: the CSV file; command: what writes it."""

    model: str
    level: int | None
    weights: Path
    result: Path
    command: list

    @property
    def name(self):
        return f"{self.model} JND{self.level}" if self.level else self.model


def find_runs(folder, root, results):
    """([Run of each model's weight file in or below `folder`], [why another file is left out, ...])."""
    from common.models import released

    runs, left_out = {}, []
    for file in released.find_files(folder):
        shown = str(file.relative_to(folder))
        network, line = released.describe(file, shown)
        if network is None:
            left_out.append(line)
            continue
        entries = [entry for entry in released.RELEASED if entry.network is network]
        marked = re.search(r"(?<![A-Za-z])VA(?![A-Za-z])", shown)
        model = next((e.model for e in entries if marked and e.model.endswith("VA")), entries[0].model)
        level = re.search("JND([123])", file.name) if entries[0].level else None
        if model == "autoencoder":
            continue
        if entries[0].level and not level:
            left_out.append(f"{shown}: {model}, but neither JND1, JND2 nor JND3 is in its name; rename it")
            continue
        level = int(level[1]) if level else None
        name = f"{model} JND{level}" if level else model
        if name in runs:
            first = runs[name].weights.relative_to(folder)
            raise UserError(f"{folder}: {first} and {shown} are both {name}; keep one of them in this folder")
        result = results / f"{name.replace(' ', '_')}.csv"
        command = [network.program, "test", "--data_dir", str(root), "--model_weights_path", str(file)]
        command += ["--result_path", str(result)]
        command += ["--head", model] if network.program == "MTJND.py" else []
        command += ["--jnd_value", f"JND{level}"] if level else []
        runs[name] = Run(model, level, file, result, command)
    if not runs:
        raise UserError(
            f"{folder}: no model's weights in or below this folder; python3 -m common.weights fetch brings the "
            "released files"
        )
    order = list(dict.fromkeys(entry.model for entry in released.RELEASED))
    return sorted(runs.values(), key=lambda run: (order.index(run.model), run.level or 0)), left_out


def bring(run, split):
    """See that a run's result file is there and newer than what it comes from; returns what went wrong, or None."""
    import pandas as pd

    note, shown = run.result.with_suffix(".txt"), shlex.join(["python3", *run.command])
    sources = [run.weights, split.folder, *split.images, split.folder / "JND-Levels.txt"]
    try:
        # The time of the last change, which copying does not set back as it does the modification's.
        newest = max(max(path.stat().st_mtime, path.stat().st_ctime) for path in sources)
        names = list(pd.read_csv(run.result)["image"].astype(str))
        fresh = run.result.stat().st_mtime > newest and names == [path.name for path in split.images]
        if fresh and note.read_text() == f"{shown}\n":
            print(f"{run.name}: done before")
            return None
    except (OSError, ValueError, KeyError):
        pass
    print(f"$ {shown}", flush=True)
    code = start(PROJECT / run.command[0], *run.command[1:])
    if code:
        return f"its test ended with exit code {code}, for the reason that it gives above"
    with atomic_write(note) as temporary:
        temporary.write_text(f"{shown}\n")


def start(*arguments, **how):
    """Run a Python program, without what it prints but with its progress and errors; returns its exit code."""
    with subprocess.Popen([sys.executable, *map(str, arguments)], stdout=subprocess.DEVNULL, **how) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:  # which the program got as well: let it put away what it has in hand
            process.wait()
            raise


def costs(models, file, measure):
    """The table that benchmarks.complexity wrote into `file`, as far as it is of `models`; None without any.

    measure: whether to measure, and add to the file, what it has nothing of.
    """
    import pandas as pd

    def read():
        if not file.exists():
            return pd.DataFrame({"model": []})
        read_table(file, ("model", "backend", "precision"), {})  # refuses another file
        table = pd.read_csv(file)
        return table[table["model"].isin(models)]

    found = read()
    lacking = [model for model in models if model not in set(found["model"])]
    if measure and lacking:
        arguments = ["-m", "benchmarks.complexity", "--csv", str(file.absolute()), "--models", *lacking]
        print(f"$ {shlex.join(['python3', *arguments])}", flush=True)
        code = start(*arguments, cwd=PROJECT)
        if code:
            raise UserError(f"benchmarks.complexity ended with exit code {code}; leave out --complexity")
        found = read()
    return found if len(found) else None
