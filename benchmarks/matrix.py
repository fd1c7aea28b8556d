"""Which models in which precisions, on which backends or in which formats: what the benchmarks share."""

import importlib.util
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import product
from pathlib import Path

from common.core.errors import UserError

SCRIPTS = ("LAT", "REC", "E2ELAT", "E2EREC", "MJLAT", "MJREC", "MTJND")
BACKENDS = ("tensorflow", "jax", "torch", "openvino")  # KERAS_BACKEND's values, and the packages' names


def parser(name, doc, formats=()):
    """The command line of a benchmark, with the flags that choose what is measured: of `formats`, if any, or backends.

    Its options have `key`, the columns that tell one measurement from another, and `ways`, the formats or backends.
    """
    from common.cli import program

    made = program.Parser(prog=f"python3 -m benchmarks.{name}", description=doc)
    style = {"nargs": "+", "metavar": "X"}
    made.add_argument("--models", **style, help="such as LAT MJ-REC; by default all nine")
    if formats:
        way, half, more = "format", "float16", ""
        made.add_argument("--formats", dest="ways", **style, choices=formats, default=[*formats], help="some of them")
    else:
        way, half, more = "backend", "bfloat16", "; with installed, both"
        made.add_argument(
            "--backends",
            dest="ways",
            **style,
            choices=(*BACKENDS, "installed"),
            default=["tensorflow"],
            help=f"{', '.join(BACKENDS)}, or installed: those of them that are",
        )
    precisions = {"choices": ("float32", half), "help": f"float32 (the default), {half}{more}"}
    made.add_argument("--precisions", **style, **precisions)
    made.set_defaults(key=["model", way, "precision"])
    made.add_argument(
        "--csv", type=Path, metavar="FILE", help="write the table there too; what it has of others is kept"
    )
    return made


def models():
    """[(script, ModelSpec)] of all models, in the papers' order."""
    from common.models.registry import ModelSpec

    return [
        (script, value)
        for script in SCRIPTS
        for value in vars(importlib.import_module(script)).values()
        if isinstance(value, ModelSpec)
    ]


def run(options, columns, measure):
    """Measure each combination that the command line chose; print a table, and write it where --csv says.

    measure(script, variant, way, precision) returns rows, dicts of some of `columns`.  One that raises, or whose
    process is killed, gives a row with the reason as `failed`, and the next one goes on.
    """
    from common.core.environment import machine
    from common.core.files import check_writable
    from common.data.tables import read_table

    combinations, table = chosen(options), []
    if options.csv:
        check_writable(options.csv)
        if options.csv.exists():
            read_table(options.csv, options.key, {})  # refuses another file now, not when there is something to write
    print(*options.key, *columns, sep=" | ", flush=True)
    for (script, variant), way, precision in combinations:
        try:
            rows = measure(script, variant, way, precision)
        except Exception as error:  # a backend's own, of any kind
            first = next(iter(str(error).strip().splitlines()), "")
            rows = [{"failed": first if isinstance(error, UserError) else f"{type(error).__name__}: {first}"}]
        rows = [{**dict(zip(options.key, (variant.name, way, precision))), **row} for row in rows]
        for row in rows:
            cells = [row.get(column, "") for column in columns] if "failed" not in row else [f"failed: {row['failed']}"]
            shown = (f"{cell:,}" if isinstance(cell, int) else cell for cell in cells)
            print(*(row[name] for name in options.key), *shown, sep=" | ", flush=True)
        table += [{**row, "machine": machine()} for row in rows]
        if options.csv:
            _write(options.csv, table, options.key, columns)
    return 0


def alone(measure, *arguments):
    """measure(*arguments) in a process of its own: its memory is that of one model, and a backend cannot be changed."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure, *arguments).result()
        except BrokenProcessPool:
            raise UserError("its process was killed; out of memory, perhaps") from None


def chosen(options):
    """[((script, ModelSpec), backend or format, precision)], in the order in which they are measured."""
    known = models()
    names = [variant.name for _, variant in known]
    if strange := set(options.models or ()) - set(names):
        raise UserError(f"--models {' '.join(sorted(strange))}: no such model; expected some of {' '.join(names)}")
    all_installed = "installed" in options.ways
    ways = [name for name in BACKENDS if importlib.util.find_spec(name)] if all_installed else options.ways
    precisions = options.precisions or ("float32", "bfloat16")[: 1 + all_installed]
    wanted = [one for one in known if not options.models or one[1].name in options.models]
    return list(product(wanted, ways, precisions))


def command(script, what, variant, **flags):
    """The command line of a script: `what` it is to do, and with flags for the head and the level of `variant`."""
    flags |= {"head": variant.name} if variant.is_one_of_several else {}
    flags |= {"jnd_value": "JND1"} if variant.needs_level else {}
    return [sys.executable, f"{script}.py", what, *(str(part) for name in flags for part in (f"--{name}", flags[name]))]


def _write(file, rows, key, columns):
    """Write the rows, and before them those of the file that are of other combinations."""
    import pandas as pd

    from common.core.files import write_csv

    table = pd.DataFrame(rows)
    if file.is_file():
        before = pd.read_csv(file)
        again = before.set_index(key).index.isin(table.set_index(key).index)
        table = pd.concat([before[~again], table]) if not again.all() else table
    order = [*key, *columns, "failed", "machine"]
    write_csv(table.reindex(columns=order).dropna(axis=1, how="all").convert_dtypes(), file)
