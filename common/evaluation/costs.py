"""What the models cost: the table that `python3 -m benchmarks.complexity` writes."""

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from common.core.environment import PROJECT
from common.core.errors import UserError
from common.core.messages import note
from common.core.processes import run_python
from common.data.tables import read_table
from common.evaluation.report import Table


def read_costs(models: Sequence[str], file: Path, *, measure: bool) -> pd.DataFrame:
    """Return the rows of `file` that are about `models`, none where there is no such file.

    measure: First measure the models that the file lacks, and add them to it.  Raises UserError where the file is
    another table, or the measurement failed.
    """
    costs = pd.DataFrame({"model": []})
    if file.exists():
        read_table(file, ("model", "backend", "precision"), {})  # refuses another table
        costs = pd.read_csv(file).query("model in @models")
    lacking = [model for model in models if model not in set(costs["model"])]
    if measure and lacking:
        arguments = ["-m", "benchmarks.complexity", "--csv", str(file.absolute()), "--models", *lacking]
        note(f"$ {shlex.join(['python3', *arguments])}")
        code = run_python(*arguments, cwd=PROJECT, stdout=subprocess.DEVNULL)
        if code:
            raise UserError(f"benchmarks.complexity ended with exit code {code}; leave out --complexity")
        return read_costs(models, file, measure=False)
    return costs


def describe(models: Sequence[str], costs: pd.DataFrame, file: Path) -> tuple[list[Table], list[str]]:
    """Return the costs as a table, a row per model, backend and precision, if any, and sentences with the commands.

    The commands are the one that measured the costs, and the one for the models that `costs` lacks.
    """
    tables, sentences = [], []
    measured = costs[costs["failed"].isna()] if "failed" in costs else costs
    if not costs.empty:
        flags = [f"--{name}s {' '.join(dict.fromkeys(costs[name]))}" for name in ("model", "backend", "precision")]
        sentences.append(f"Costs by `python3 -m benchmarks.complexity {' '.join(flags)}`.")
        machines, shown, title = costs["machine"].dropna().unique() if "machine" in costs else [], costs, "Costs"
        if len(machines) == 1:
            title, shown = f"Costs, on {machines[0]}", costs.drop(columns="machine")
        rows = [[_cell(value) for value in row] for row in shown.itertuples(index=False)]
        tables.append(Table(title, list(shown.columns), rows))
    if lacking := [model for model in models if model not in set(measured["model"])]:
        command = f"python3 -m benchmarks.complexity --backends installed --csv {shlex.quote(str(file))} --models"
        sentences.append(
            f"The cost of {', '.join(lacking)} was not measured: `{command} {' '.join(lacking)}`, or `--complexity` "
            "here for the default backend."
        )
    return tables, sentences


def _cell(value):
    if isinstance(value, str):
        return value
    return "" if np.isnan(value) else f"{value:,.10g}"
