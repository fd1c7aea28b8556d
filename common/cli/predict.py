"""`python3 LAT.py predict INPUT...`: the levels of images and clips, for a person and as a file."""

import argparse
import contextlib
import functools
import itertools
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from common.cli.program import config_from
from common.core import messages
from common.core.errors import UserError
from common.core.files import check_writable, file_stamp
from common.core.messages import note
from common.core.row_file import STAMP, RowFile, RowStream
from common.core.terminal import Listing, print_error, progress, shows_bars
from common.data.levels import at_sur
from common.encoding.config import EncodingConfig, PlanConfig
from common.media.clips import probe, seconds_of
from common.media.formats import is_clip
from common.models.registry import ModelSpec
from common.models.weight_search import find_weights, level_names
from common.prediction import networks
from common.prediction.config import PredictionConfig
from common.prediction.inputs import Frame, find_places, prepare_inputs
from common.prediction.predictor import Predictor, Result, predict_files

if TYPE_CHECKING:
    from common.encoding.job import EncodingJob
    from common.encoding.plans import PlanJob

STANDARD_OUTPUT = "-"
DISTRIBUTED = "distributed==2026.8.0"


def predict(spec: ModelSpec, options: argparse.Namespace) -> int:
    """Predict the levels of the inputs, print them and write them; return the exit code, 1 where one has an error."""
    stdout = sys.stdout
    with contextlib.ExitStack() as stack:
        if options.format or options.output == STANDARD_OUTPUT:  # then what is for a person goes to stderr
            quiet = options.format and messages.level <= messages.QUIET
            person = stack.enter_context(open(os.devnull, "w")) if quiet else sys.stderr
            stack.enter_context(contextlib.redirect_stdout(person))
        return _predict(spec, options, stdout)


def _predict(spec: ModelSpec, options: argparse.Namespace, stdout: TextIO) -> int:
    """Do what `predict` does.  stdout: For --output - and --format, while sys.stdout is another stream."""
    config = config_from(PredictionConfig, options)
    weights = find_weights(spec, config.level, config.model_weights_path)
    levels = level_names(spec, weights)
    columns = (*levels, *at_sur(dict.fromkeys(levels, 0), options.sur))
    by = functools.partial(
        config.by,
        model=spec.name,
        digests=[networks.weights_digest(file) for file in weights.values()],
        precision=networks.stored_precision(next(iter(weights.values())), config.precision),
    )
    output = _open_output(options, columns, by, stdout)
    places = find_places(options.inputs, exclude=options.encode)
    paths = list(places)
    stamps = {str(path): file_stamp(path) for path in paths}  # before they are read
    output.forget_changed(stamps)
    files = [(number, path) for number, path in enumerate(paths) if str(path) not in output.kept_paths]
    encoding = _open_encoding(options, levels, places, output, stdout)
    table, bad, warned, distorted = Table([path for _, path in files], columns), 0, 0, False
    results = _results(spec, weights, files, config)
    bar = progress(results, total=len(files), unit="file", desc=spec.name)
    with bar, contextlib.closing(results):
        for path, rows in bar:
            if isinstance(rows, UserError):
                bad += 1
                print_error(rows)
                continue
            for row in rows:
                row |= at_sur({name: row[name] for name in levels}, options.sur) | {"by": by(str(path))}
                row[STAMP] = stamps[str(path)]
            warned += any(row["warning"] for row in rows)
            distorted |= any("stretched" in row["warning"] for row in rows)
            if options.output != STANDARD_OUTPUT:
                table.print(rows)
            output.write(rows)
            if encoding:
                encoding.add(rows)
    note(f"{len(files) - bad} of {len(files)} files, weights {', '.join(map(str, weights.values()))}")
    if len(files) < len(paths):
        note(f"{len(paths) - len(files)} files were done before")
    if warned:
        advice = "; for images of another shape, 4:3 or 3:2, try --fit crop" if distorted else ""
        note(f"{warned} with a warning: check their levels{advice}")
    output.finish()
    if isinstance(output, RowFile):
        print(f"results: {options.output}")
    if encoding:
        bad += encoding.run()
    return 1 if bad else 0


def _open_output(
    options: argparse.Namespace, levels: Sequence[str], by: Callable[[str], str], stdout: TextIO
) -> RowFile | RowStream:
    """Return where --output goes; raise UserError where that is a file with rows that this run would not write."""
    columns = ("path", "frame", "seconds", "tile", "width", "height", *levels, "seen", "warning", "by", STAMP)
    if options.output in (None, STANDARD_OUTPUT):
        if options.resume and not options.encode:
            raise UserError("--resume: there is nothing to go on with; give --output FILE too")
        return RowStream(stdout if options.output else None, columns)
    check_writable(options.output)
    output = RowFile(options.output, columns, resume=options.resume, overwrite=options.overwrite)
    for row in output.kept_rows:
        if row["by"] != by(row["path"]):
            raise UserError(
                f"{options.output}: its row of {row['path']} is by {row['by']}, this run's would be by "
                f"{by(row['path'])}; give the same weights and flags, another --output, or --overwrite"
            )
    return output


def _open_encoding(
    options: argparse.Namespace,
    levels: Sequence[str],
    places: Mapping[Path, Path],
    output: RowFile | RowStream,
    stdout: TextIO,
) -> "EncodingJob | PlanJob | None":
    """The job of --encode or --format, with the rows of an earlier run."""
    if not (options.encode or options.format):
        return None
    try:
        from common.encoding import job, plans  # which need PyAV
    except ModuleNotFoundError as error:
        flag = "--encode" if options.encode else "--format"
        raise UserError(f"{flag} needs {error.name}: pip install -r requirements.txt") from None
    inputs = set(map(str, places))
    if options.encode:
        config = config_from(EncodingConfig, options, folder=Path(options.encode), level=options.coded_level)
        encoding = job.EncodingJob(config, levels, places)
    else:
        encoding = plans.PlanJob(config_from(PlanConfig, options, level=options.coded_level), levels, places, stdout)
    encoding.add([row for row in output.kept_rows if row["path"] in inputs])
    return encoding


def _results(
    spec: ModelSpec, weights: Mapping[str | None, Path], files: Sequence[tuple[int, Path]], config: PredictionConfig
) -> Generator[Result, None, None]:
    """What `predict_files` yields, by a cluster or by this machine, whose network is ready when this returns."""
    if config.dask:
        try:
            from common.prediction import cluster
        except ImportError:
            raise UserError(f'--dask needs a package that is not installed: pip install "{DISTRIBUTED}"') from None
        return cluster.predict_files(spec, weights, files, config)
    if not files:
        return (result for result in ())
    if any(os.path.exists(path) for _, path in files):  # else nothing is exported: it is said at once
        config = networks.with_fastest_backend(spec, weights, config)
    spec = networks.with_input_of(spec, weights.values(), config)
    images, first = prepare_inputs(files, spec.input, config), []
    for item in images:  # decoding starts while Keras does
        first.append(item)
        if not isinstance(item[1], UserError):
            break
    else:  # no file can be read, so Keras is not needed
        return ((path, error) for (path, *_), error in first)
    networks.start_backend(weights.values(), config, lean=True)
    return predict_files(_with_progress(itertools.chain(first, images)), Predictor(spec, weights, config))


def _with_progress(images: Iterable[tuple[Frame, Any]]) -> Iterator[tuple[Frame, Any]]:
    """Yield what `prepare_inputs` does, with a progress bar for each clip."""
    for path, group in itertools.groupby(images, lambda item: item[0][0]):
        is_shown, settings = is_clip(path) and shows_bars(), {"desc": f"{path.name}: levels", "unit": " s"}
        with progress(**settings, leave=False) if is_shown else contextlib.nullcontext() as bar:
            for number, (frame, image) in enumerate(group):
                if bar is not None and frame[2] is not None:
                    if not number:  # a clip that has a frame can be read; else its reader says why it cannot
                        bar.total = round(seconds_of(probe(path)) or 0) or None
                    bar.update(round(frame[2]) - bar.n)
                yield frame, image


class Table:
    """The rows as they come, for a person."""

    def __init__(self, paths: Iterable[Path], levels: Sequence[str]):
        self.levels, self.clips = levels, any(map(is_clip, paths))
        room = len(self._numbers("", levels)) + len("  1920x1080 to 640x352")
        self.listing = Listing(map(str, paths), room, ("path", self._numbers("time s", levels) + "  QP; as seen"))

    def print(self, rows: Iterable[dict]) -> None:
        for row in rows:
            seconds = "" if row["seconds"] is None else f"{row['seconds']:.2f}"
            numbers = self._numbers(seconds, [f"{row[level]:.2f}" for level in self.levels])
            if row["tile"] is None:
                self.listing.print(row["path"], f"{numbers}  {'; '.join(filter(None, (row['seen'], row['warning'])))}")
            else:
                self.listing.print(f"  {row['tile']}", numbers)

    def _numbers(self, seconds: str, values: Iterable[str]) -> str:
        time = f" {seconds:>8}" if self.clips else ""
        return time + "".join(f" {value:>{max(6, len(name))}}" for value, name in zip(values, self.levels))
