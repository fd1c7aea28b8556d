"""Which models on which backends in which precisions: what the benchmarks of prediction share."""

import argparse
import importlib.util
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import product
from pathlib import Path

from common.errors import UserError

SCRIPTS = ("LAT", "REC", "E2ELAT", "E2EREC", "MJLAT", "MJREC", "MTJND")
BACKENDS = ("tensorflow", "jax", "torch", "openvino")  # KERAS_BACKEND's values, and the packages' names
PRECISIONS = ("float32", "bfloat16")
KEY = ["model", "backend", "precision"]


def parser(name, doc):
    """The command line of a benchmark, with the flags that choose what is measured."""
    from common import cli

    made = argparse.ArgumentParser(
        prog=f"python3 -m benchmarks.{name}",
        description=doc,
        formatter_class=cli.Help,
        allow_abbrev=False,
    )
    style = {"nargs": "+", "metavar": "X"}
    made.add_argument("--models", **style, help="such as LAT MJ-REC; by default all nine")
    made.add_argument(
        "--backends",
        **style,
        choices=(*BACKENDS, "installed"),
        default=["tensorflow"],
        help=f"{', '.join(BACKENDS)}, or installed: those of them that are",
    )
    made.add_argument(
        "--precisions", **style, choices=PRECISIONS, help="float32 (the default), bfloat16; with installed, both"
    )
    made.add_argument(
        "--csv", type=Path, metavar="FILE", help="write the table there too; what it has of others is kept"
    )
    return made


def models():
    """[(script, Variant)] of all models, in the papers' order."""
    from common.variant import Variant

    return [
        (script, value)
        for script in SCRIPTS
        for value in vars(importlib.import_module(script)).values()
        if isinstance(value, Variant)
    ]


def run(options, columns, measure):
    """Measure each combination that the command line chose; print a table, and write it where --csv says.

    measure(script, variant, backend, precision) returns rows, dicts of some of `columns`.  One that raises, or whose
    process is killed, gives a row with the reason as `failed`, and the next one goes on.
    """
    from common.programs import check_target
    from common.runs import machine
    from common.tables import read_table

    combinations, table = chosen(options), []
    if options.csv:
        check_target(options.csv)
        if options.csv.exists():
            read_table(options.csv, KEY, {})  # refuses another file now, not when there is something to write
    print(*KEY, *columns, sep=" | ", flush=True)
    for (script, variant), backend, precision in combinations:
        try:
            rows = measure(script, variant, backend, precision)
        except Exception as error:  # a backend's own, of any kind
            first = next(iter(str(error).strip().splitlines()), "")
            rows = [{"failed": first if isinstance(error, UserError) else f"{type(error).__name__}: {first}"}]
        rows = [{**dict(zip(KEY, (variant.name, backend, precision))), **row} for row in rows]
        for row in rows:
            cells = [row.get(column, "") for column in columns] if "failed" not in row else [f"failed: {row['failed']}"]
            shown = (f"{cell:,}" if isinstance(cell, int) else cell for cell in cells)
            print(*(row[name] for name in KEY), *shown, sep=" | ", flush=True)
        table += [{**row, "machine": machine()} for row in rows]
        if options.csv:
            _write(options.csv, table, columns)
    return 0


def alone(measure, *arguments):
    """measure(*arguments) in a process of its own: its memory is that of one model, and a backend cannot be changed."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure, *arguments).result()
        except BrokenProcessPool:
            raise UserError("its process was killed; out of memory, perhaps") from None


def chosen(options):
    """[((script, Variant), backend, precision)], in the order in which they are measured."""
    known = models()
    names = [variant.name for _, variant in known]
    if strange := set(options.models or ()) - set(names):
        raise UserError(f"--models {' '.join(sorted(strange))}: no such model; expected some of {' '.join(names)}")
    all_installed = "installed" in options.backends
    backends = [name for name in BACKENDS if importlib.util.find_spec(name)] if all_installed else options.backends
    precisions = options.precisions or (PRECISIONS if all_installed else PRECISIONS[:1])
    wanted = [one for one in known if not options.models or one[1].name in options.models]
    return list(product(wanted, backends, precisions))


def _write(file, rows, columns):
    """Write the rows, and before them those of the file that are of other combinations."""
    import pandas as pd

    from common.files import write_csv

    table = pd.DataFrame(rows)
    if file.is_file():
        before = pd.read_csv(file)
        again = before.set_index(KEY).index.isin(table.set_index(KEY).index)
        table = pd.concat([before[~again], table]) if not again.all() else table
    order = [*KEY, *columns, "failed", "machine"]
    write_csv(table.reindex(columns=order).dropna(axis=1, how="all").convert_dtypes(), file)
