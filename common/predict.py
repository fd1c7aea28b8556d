"""`python3 LAT.py predict INPUT...`: the levels of pictures and clips, for a person and as a file."""

import contextlib
import itertools
import sys

from tqdm import tqdm

from common import sources
from common.clips import is_clip
from common.errors import UserError
from common.population import at_sur
from common.predictor import Prediction, Predictor, find_weights, level_names
from common.programs import check_target, load_keras
from common.rows import RowFile
from common.zenodo import sha256


def predict(variant, options):
    """Predict the levels of the inputs, print them and write them down.  Returns 1 where a file was bad, else 0."""
    files = find_weights(variant, options.level, options.model_weights_path)
    levels = level_names(variant, files)
    shown = (*levels, *at_sur(dict.fromkeys(levels, 0), options.sur))
    columns = ("path", "frame", "seconds", "tile", "width", "height", *shown, "seen", "warning", "by")
    by = made_by(variant, files, options)
    output = encoding = None
    if options.output:
        check_target(options.output)
        output = RowFile(options.output, columns, resume=options.resume, overwrite=options.overwrite)
        if others := {row["by"] for row in output.kept} - {by}:
            theirs = " and ".join(sorted(others))
            raise UserError(
                f"{options.output}: its rows are by {theirs}, those of this run would be by {by}; give the same "
                "weights and flags, another --output, or --overwrite"
            )
    elif options.resume and not options.encode:
        raise UserError("--resume: there is nothing to go on with; give --output too")
    paths = sources.find_inputs(options.inputs)
    if not paths:
        raise UserError(f"{' '.join(options.inputs)}: no picture and no clip; expected files, folders or patterns")
    left = [path for path in paths if not output or str(path) not in output.done]
    if options.encode:
        from common.encoding import Encoding

        encoding = Encoding(options, levels, paths)
        if output:
            wanted = set(map(str, paths))
            encoding.add([row for row in output.kept if row["path"] in wanted])
    if options.dask:
        from common import cluster

        answers = cluster.predict_files(variant, files, left, options)
    elif not left:
        answers = (answer for answer in ())
    else:
        looks = sources.looks(left, variant.input, options.fit, options.frames)
        first = list(itertools.islice(looks, 1))  # decoding starts while Keras does
        load_keras()
        how = {"precision": options.precision, "fit": options.fit, "batch_size": options.batch_size}
        answers = predict_files(itertools.chain(first, looks), Predictor(variant, files, **how))
    table, bad, warned = Table(left, shown), 0, 0
    bar = tqdm(total=len(left), unit="file", desc=variant.name, disable=None)
    with bar, contextlib.closing(answers):
        for _, rows in answers:
            if isinstance(rows, UserError):
                bad += 1
                tqdm.write(f"error: {rows}", file=sys.stderr)
            else:
                for row in rows:
                    row |= at_sur({name: row[name] for name in levels}, options.sur) | {"by": by}
                table.print(rows)
                warned += any(row["warning"] for row in rows)
                if output:
                    output.write(rows)
                if encoding:
                    encoding.add(rows)
            bar.update()
    print(f"{len(left) - bad} of {len(left)} files, weights {', '.join(map(str, files.values()))}")
    if len(left) < len(paths):
        print(f"{len(paths) - len(left)} files were done before")
    if warned:
        print(f"{warned} with a warning: take their levels with care; --fit may help")
    if output:
        output.finish()
        print(f"results: {options.output}")
    if encoding:
        bad += encoding.run()
    return 1 if bad else 0


def made_by(variant, files, options):
    """What a row depends on besides its file: "LAT 1a2b3c4d stretch float32 scenes+1s", digests of weights among it."""
    digests = [sha256(file)[:8] for file in files.values()]
    size = [f"{variant.input.width}x{variant.input.height}"] if options.input_size else []
    return " ".join([variant.name, *digests, options.fit, options.precision, options.frames, *size])


def predict_files(looks, model):
    """Yield (path, rows) for each file of `common.sources.looks`, or (path, the UserError that says what is wrong).

    A row is a dict: path, of clips frame and seconds, width and height of the picture, its levels in QP, what the
    network has seen of it, and in what that is unlike its training.  One a picture or frame and, where these are seen
    in tiles, one a tile.
    """
    rows = []
    for (path, frame, seconds), answer in model.stream(looks):
        if not isinstance(answer, Prediction):
            yield path, rows if answer is None else answer
            rows = []
            continue
        height, width = answer.size
        row = {"path": str(path), "frame": frame, "seconds": seconds, "tile": None, "width": width, "height": height}
        row |= {**answer.levels, "seen": answer.seen, "warning": answer.warning}
        rows.append(row)
        rows += [{**row, "tile": str(view), **levels} for view, levels in answer.tiles]


def one_line(name):
    """A file's name as text that any terminal shows, in one line."""
    return name.replace("\n", "\\n").encode("utf-8", "backslashreplace").decode()


class Table:
    """The rows as they come, for a person."""

    def __init__(self, paths, levels):
        self.levels, self.clips = levels, any(map(is_clip, paths))
        self.width = min(max((len(str(path)) for path in paths), default=0), 100)
        self.headed = False

    def print(self, rows):
        if not self.headed:
            self._line("path", "time s" if self.clips else "", self.levels, "QP; as seen")
            self.headed = True
        for row in rows:
            name = one_line(row["path"]) if row["tile"] is None else f"  {row['tile']}"
            seconds = "" if row["seconds"] is None else f"{row['seconds']:.2f}"
            note = row["seen"] + (f"; {row['warning']}" if row["warning"] else "") if row["tile"] is None else ""
            self._line(name, seconds, [f"{row[level]:.2f}" for level in self.levels], note)

    def _line(self, name, seconds, levels, note):
        time = f" {seconds:>8}" if self.clips else ""
        numbers = "".join(f" {level:>{max(6, len(name))}}" for level, name in zip(levels, self.levels))
        tqdm.write(f"{name:<{self.width}}{time}{numbers}  {note}".rstrip())
