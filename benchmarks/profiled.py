"""A script's command line with the time that its parts take: `benchmarks.profile` runs it; it imports little itself."""

import functools
import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

WAITING = "waiting for images"
MAIN = {
    "start of Keras or the runtime": ["prediction.networks.start_backend", "prediction.runtimes.open_runtime"],
    "load weights": ["prediction.networks.weights_digest"],
    "waiting for the network": ["prediction.predictor.Predictor._wait"],
    "write": ["cli.predict.Table.print", "core.row_file.RowFile.write"],
}
"""{row: the functions of common whose time on the main thread it is}"""
WITH_KERAS = {
    "load weights": ["models.weight_files.load"],
    "build": ["models.inference.build_network", "models.inference.for_prediction"],
}
"""The same of modules that import Keras."""
THREADS = {
    "network": ["prediction.predictor.Predictor._qps"],
    "decode": ["prediction.resize_modes.read_image"],
    "resize": ["prediction.resize_modes.preprocess"],
}


def replace(name: str, wrap: Callable[[Callable], Callable]) -> None:
    """Put wrap(function) in the place of the function of common, or of a class in it, that is called `name`."""
    owner, _, attribute = f"common.{name}".rpartition(".")
    try:
        place = importlib.import_module(owner)
    except ModuleNotFoundError:
        owner, _, kind = owner.rpartition(".")
        place = getattr(importlib.import_module(owner), kind)
    setattr(place, attribute, wrap(getattr(place, attribute)))


def main(file: str, script: str, *arguments: str) -> None:
    """Run a script's command line, and write what its parts took to a file."""
    begun = time.time()
    module, registry = importlib.import_module(Path(script).stem), importlib.import_module("common.models.registry")
    specs = [value for value in vars(module).values() if isinstance(value, registry.ModelSpec)]
    importlib.import_module("common.cli.predict")
    ready, running = time.time(), []
    rows = dict.fromkeys([*MAIN, *WITH_KERAS, WAITING], 0.0)
    threads = dict.fromkeys(THREADS, 0.0)

    def timed(row, sums, function):
        @functools.wraps(function)
        def call(*args, **settings):
            if sums is rows and running:  # a part of what is measured already
                return function(*args, **settings)
            started = time.perf_counter()
            running.extend([row] * (sums is rows))
            try:
                return function(*args, **settings)
            finally:
                if sums is rows:
                    running.pop()
                sums[row] += time.perf_counter() - started

        return call

    def patch(parts, sums):
        for row, names in parts.items():
            for name in names:
                replace(name, functools.partial(timed, row, sums))

    def waiting(prepare):
        def images(*args):
            prepared = prepare(*args)
            following = timed(WAITING, rows, lambda: next(prepared, None))
            yield from iter(following, None)

        return images

    def starting(start):
        def start_and_patch(files, config, **settings):
            start(files := list(files), config, **settings)
            if "keras" in sys.modules:
                timed("start of Keras or the runtime", rows, patch)(WITH_KERAS, rows)

        return start_and_patch

    patch(MAIN, rows)
    patch(THREADS, threads)
    replace("cli.predict.prepare_inputs", waiting)
    replace("prediction.networks.start_backend", starting)

    def run():
        code = importlib.import_module("common.cli.script").run_script("", *specs, arguments=arguments)
        Path(file).write_text(json.dumps([rows, threads, begun, ready]))
        return code

    importlib.import_module("common.cli.program").run(run)


if __name__ == "__main__":
    main(*sys.argv[1:])
