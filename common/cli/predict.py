"""`python3 LAT.py predict INPUT...`: the levels of pictures and clips, for a person and as a file."""

import contextlib
import itertools
import sys
from pathlib import Path

from tqdm import tqdm

from common.cli.program import config_from
from common.core.errors import UserError
from common.core.files import check_writable, sha256
from common.core.keras_backend import load_keras
from common.core.names import one_line
from common.core.row_file import RowFile
from common.core.terminal import Listing
from common.data.levels import at_sur
from common.encoding.config import EncodingConfig
from common.media.clips import is_clip
from common.models.weight_files import find_weights, level_names
from common.prediction import inputs
from common.prediction.predictor import Predictor, predict_files


def predict(variant, options):
    """Predict the levels of the inputs, print them and write them down.  Returns 1 where a file was bad, else 0."""
    files = find_weights(variant, options.level, options.model_weights_path)
    levels = level_names(variant, files)
    shown = (*levels, *at_sur(dict.fromkeys(levels, 0), options.sur))
    made_by = maker(variant, files, options)
    output = open_output(options, shown, made_by)
    paths = inputs.find_inputs(options.inputs, without=options.encode)
    left = [(number, path) for number, path in enumerate(paths) if not output or str(path) not in output.kept_paths]
    encoding = open_encoding(options, levels, paths, output)
    table, bad, warned = Table([path for _, path in left], shown), 0, 0
    answers = answers_to(left, variant, files, options)
    bar = tqdm(answers, total=len(left), unit="file", desc=variant.name, disable=None)
    with bar, contextlib.closing(answers):
        for _, rows in bar:
            if isinstance(rows, UserError):
                bad += 1
                tqdm.write(f"error: {one_line(str(rows))}", file=sys.stderr)
                continue
            for row in rows:
                row |= at_sur({name: row[name] for name in levels}, options.sur) | {"by": made_by(row)}
            warned += any(row["warning"] for row in rows)
            table.print(rows)
            if output:
                output.write(rows)
            if encoding:
                encoding.add(rows)
    print(f"{len(left) - bad} of {len(left)} files, weights {', '.join(map(str, files.values()))}")
    if len(left) < len(paths):
        print(f"{len(paths) - len(left)} files were done before")
    if warned:
        print(f"{warned} with a warning: take their levels with care")
    if output:
        output.finish()
        print(f"results: {options.output}")
    if encoding:
        bad += encoding.run()
    return 1 if bad else 0


def maker(variant, files, options):
    """A function: what a row depends on besides its file: "LAT 1a2b3c4d stretch float32 scenes+1s", weights by digest.

    Which frames of a clip were asked for, last, is of no concern to a picture.
    """
    digests = [sha256(file)[:8] for file in files.values()]
    size = [f"{variant.input.width}x{variant.input.height}"] if options.input_size else []
    same = " ".join([variant.name, *digests, options.fit, options.precision, *size])
    return lambda row: f"{same} {options.frames}" if is_clip(row["path"]) else same


def open_output(options, levels, made_by):
    """The RowFile of --output, or None.  Raises UserError where it holds rows that this run would not give."""
    if not options.output:
        if options.resume and not options.encode:
            raise UserError("--resume: there is nothing to go on with; give --output too")
        return None
    check_writable(options.output)
    columns = ("path", "frame", "seconds", "tile", "width", "height", *levels, "seen", "warning", "by")
    output = RowFile(options.output, columns, resume=options.resume, overwrite=options.overwrite)
    for row in output.kept_rows:
        if row["by"] != made_by(row):
            raise UserError(
                f"{options.output}: its row of {row['path']} is by {row['by']}, this run's would be by {made_by(row)}; "
                "give the same weights and flags, another --output, or --overwrite"
            )
    return output


def open_encoding(options, levels, paths, output):
    """The EncodingJob of --encode, with what an earlier run found, or None."""
    if not options.encode:
        return None
    from common.encoding.job import EncodingJob

    config = config_from(EncodingConfig, options, folder=Path(options.encode), level=options.coded_level)
    encoding, wanted = EncodingJob(config, levels, paths), set(map(str, paths))
    encoding.add([row for row in output.kept_rows if row["path"] in wanted] if output else [])
    return encoding


def answers_to(inputs_left, variant, files, options):
    """What `predict_files` yields of the files, by a cluster or by this machine, which is ready when this returns."""
    if options.dask:
        from common.prediction import cluster

        return cluster.predict_files(variant, files, inputs_left, options)
    if not inputs_left:
        return (answer for answer in ())
    looks = inputs.prepare_inputs(inputs_left, variant.input, options.fit, options.frames)
    first = list(itertools.islice(looks, 1))  # decoding starts while Keras does
    load_keras(lean=True)
    how = {"precision": options.precision, "fit": options.fit, "batch_size": options.batch_size}
    return predict_files(itertools.chain(first, looks), Predictor(variant, files, **how))


class Table:
    """The rows as they come, for a person."""

    def __init__(self, paths, levels):
        self.levels, self.clips = levels, any(map(is_clip, paths))
        self.listing = Listing(map(str, paths), room=len(self._numbers("", levels)) + len("  1920x1080 to 640x352"))
        self.headed = False

    def print(self, rows):
        if not self.headed:
            self.listing.print("path", self._numbers("time s", self.levels) + "  QP; as seen")
            self.headed = True
        for row in rows:
            seconds = "" if row["seconds"] is None else f"{row['seconds']:.2f}"
            numbers = self._numbers(seconds, [f"{row[level]:.2f}" for level in self.levels])
            if row["tile"] is None:
                self.listing.print(row["path"], f"{numbers}  {'; '.join(filter(None, (row['seen'], row['warning'])))}")
            else:
                self.listing.print(f"  {row['tile']}", numbers)

    def _numbers(self, seconds, levels):
        time = f" {seconds:>8}" if self.clips else ""
        return time + "".join(f" {level:>{max(6, len(name))}}" for level, name in zip(levels, self.levels))
