"""What the benchmarks share: the models, precisions and backends or formats that they measure, and their table."""

import argparse
import importlib.util
import multiprocessing
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from common.cli import program
from common.core.environment import machine
from common.core.errors import UserError
from common.core.files import check_writable, write_csv
from common.data.tables import read_table
from common.models.registry import ModelSpec, get_model, list_models

BACKENDS = ("tensorflow", "jax", "torch", "openvino")  # KERAS_BACKEND's values, and the packages' names


def make_parser(name: str, description: str | None, formats: Sequence[str] = ()) -> program.Parser:
    """Make the command line of a benchmark with the flags that choose what is measured; `matrix_from` reads them.

    Args:
        name: The module in benchmarks/.
        formats: The formats that it measures; without them, it measures backends.
    """
    parser = program.Parser(prog=f"python3 -m benchmarks.{name}", description=description)
    several = partial(parser.add_argument, nargs="+", metavar="X")
    several("--models", help="such as LAT MJ-REC; by default all")
    if formats:
        column, half, both = "format", "float16", ""
        several("--formats", dest="runtimes", choices=formats, default=[*formats], help="some of them")
    else:
        column, half, both = "backend", "bfloat16", "; with installed, both"
        text = f"{', '.join(BACKENDS)}, or installed: those of them that are"
        several("--backends", dest="runtimes", choices=(*BACKENDS, "installed"), default=["tensorflow"], help=text)
    several("--precisions", choices=("float32", half), help=f"float32 (the default), {half}{both}")
    parser.set_defaults(column=column)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="add the table to this file")
    return parser


@dataclass(frozen=True)
class Matrix:
    """What a benchmark measures: each combination of a model, a backend or format, and a precision."""

    specs: Sequence[ModelSpec]
    column: str  # what the table calls the runtimes, "backend" or "format"
    runtimes: Sequence[str]
    precisions: Sequence[str]
    csv: Path | None = None  # the file that the table is added to

    def combinations(self) -> list[tuple[ModelSpec, str, str]]:
        """Return the combinations in the order in which they are measured."""
        return list(product(self.specs, self.runtimes, self.precisions))

    def run(
        self,
        columns: Sequence[str],
        measure: Callable[[ModelSpec, str, str], Sequence[Mapping]],
        more_key: Sequence[str] = (),
    ) -> int:
        """Measure each combination, print the table and write it; returns the exit code.

        Args:
            columns: The columns of the table, besides those that name the combination.
            measure: Returns the rows of a combination.  Where it raises, the row has the reason as `failed`.
            more_key: Columns that tell the rows of a combination apart; a row takes the place of an earlier one that is
                the same in these.
        """
        combination, table = ["model", self.column, "precision"], []
        key = [*combination, *more_key]
        if self.csv:
            check_writable(self.csv)
            if self.csv.exists():
                read_table(self.csv, key, {})  # refuses another table now, not after the first measurement
        print(*key, *columns, sep=" | ", flush=True)
        for spec, runtime, precision in self.combinations():
            try:
                rows = measure(spec, runtime, precision)
            except Exception as error:  # a backend's own, of any kind
                first = next(iter(str(error).strip().splitlines()), "")
                rows = [{"failed": first if isinstance(error, UserError) else f"{type(error).__name__}: {first}"}]
            rows = [{**dict(zip(combination, (spec.name, runtime, precision))), **row} for row in rows]
            for row in rows:
                cells = [f"failed: {row['failed']}"] if "failed" in row else [row.get(name, "") for name in columns]
                shown = (f"{cell:,}" if isinstance(cell, int) else cell for cell in cells)
                print(*(row.get(name, "") for name in key), *shown, sep=" | ", flush=True)
            table += [{**row, "machine": machine()} for row in rows]
            if self.csv:
                _merge(self.csv, pd.DataFrame(table), key, columns)
        return 0


def matrix_from(options: argparse.Namespace) -> Matrix:
    """Make the Matrix that a command line of `make_parser` chose."""
    names = list_models()
    if unknown := set(options.models or ()) - set(names):
        raise UserError(f"--models {' '.join(sorted(unknown))}: no such model; expected some of {' '.join(names)}")
    specs = [get_model(name) for name in names if not options.models or name in options.models]
    all_installed = "installed" in options.runtimes
    runtimes = [name for name in BACKENDS if importlib.util.find_spec(name)] if all_installed else options.runtimes
    precisions = options.precisions or ("float32", "bfloat16")[: 1 + all_installed]
    return Matrix(specs, options.column, runtimes, precisions, options.csv)


def in_new_process(measure: Callable, *arguments: Any) -> Any:
    """Return measure(*arguments) of a new process: a process has one backend, and its memory is that of one model."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure, *arguments).result()
        except BrokenProcessPool:
            raise UserError("its process was killed; out of memory, perhaps") from None


def script_command(spec: ModelSpec, action: str, **flags: Any) -> list[str]:
    """Return the command line of a model's script.  action: such as "test"; flags: in addition to the model's own."""
    words = [str(part) for name, value in flags.items() for part in (f"--{name}", value)]
    return [sys.executable, spec.script, action, *words, *spec.flags("JND1" if spec.needs_level else None)]


def _merge(file, table, key, columns):
    """Write the table after the file's rows of other combinations."""
    if file.is_file():
        before = pd.read_csv(file)
        measured_again = before.set_index(key).index.isin(table.set_index(key).index)
        table = pd.concat([before.loc[~measured_again], table]) if not measured_again.all() else table
    order = [*key, *columns, "failed", "machine"]
    write_csv(table.reindex(columns=order).dropna(axis=1, how="all").convert_dtypes(), file)
