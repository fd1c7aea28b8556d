"""The command line of the scripts: from arguments to a command."""

import argparse
from collections.abc import Sequence

from common.cli import script_flags
from common.cli.program import Parser, config_from, run
from common.core import startup
from common.core.messages import warn
from common.models.registry import ModelSpec
from common.training.config import TrainingConfig

COMMANDS = {
    "train": (
        "train on ROOT/train, keep the epoch that is best on ROOT/valid",
        "{model} --data_dir ROOT/ --checkpoint_path C/ --csv_log_path C/",
        "{model} --data_dir ROOT/ --checkpoint_path C/ --csv_log_path C/ --resume",
        "{model} --data_dir ROOT/ --checkpoint_path C/ --csv_log_path C/ \\\n"
        "      --epochs 100 --patience 20 --augment mirror",
    ),
    "test": (
        "predict the levels of ROOT/test, and their error where there are labels",
        "{model} --data_dir ROOT/ --result_path results/",
        "{model} --data_dir ROOT/ --result_path results/ --model_weights_path C/",
    ),
    "predict": (
        "predict the levels of any images and clips",
        "{head}photo.jpg holiday/ clip.mp4",
        "{head}holiday/ --fit crop --output levels.csv",
        "{head}'holiday/*.png' --encode coded/ --codec av1",
        "{head}holiday/ --quiet --output - | jq .JND1",
    ),
    "export": (
        "write the network as a file for another runtime: ONNX, OpenVINO, LiteRT, SavedModel",
        "{model} --format onnx --output exported/",
    ),
}
"""{command: (what it does, examples)}."""


def main(doc: str | None, *specs: ModelSpec) -> None:
    """Run a script's command line; end the process with the exit code, an error in one line."""
    run(lambda: run_script(doc, *specs))


def run_script(doc: str | None, *specs: ModelSpec, arguments: Sequence[str] | None = None) -> int:
    """Parse and run a model's command line; return the exit code.

    doc: The script's docstring, its help.  specs: The model, or several, among which `--head` chooses.
    """
    first, *_ = specs
    head = "".join(f"{flag} " for flag in first.flags(None))
    model = " ".join(first.flags("JND1" if first.needs_level else None))
    examples = {name: [line.format(head=head, model=model) for line in lines[1:]] for name, lines in COMMANDS.items()}
    parser = Parser([f"predict {examples['predict'][0]}", "predict --help"], description=doc)
    commands = parser.add_subparsers(dest="command", required=True, metavar=f"{{{','.join(COMMANDS)}}}")
    for name, (purpose, *_) in COMMANDS.items():
        description = f"{purpose[0].upper()}{purpose[1:]}."
        command = commands.add_parser(name, help=purpose, description=description, examples=examples[name])
        getattr(script_flags, f"{name}_flags")(command, specs)
    options = parser.parse_args(arguments)
    parser = commands.choices[options.command]
    spec = next(spec for spec in specs if len(specs) == 1 or spec.name == options.head)
    if options.command == "predict" and not options.encode:
        for flag in options.of_encoding:
            needs_files = flag.dest in ("baseline", "jobs")
            if getattr(options, flag.dest) != flag.default and (needs_files or not options.format):
                others = "" if needs_files else " or --format"
                parser.error(f"{flag.option_strings[0]}: only for encoding; add --encode DIR{others}")
    if options.command == "predict" and options.format and (options.encode or options.output == "-"):
        other = "--encode" if options.encode else "--output -"
        parser.error(f"--format: prints what other tools encode with; leave out {other}")
    _set_level(parser, options, spec)
    if options.input_size:
        try:
            spec = spec.resized(*options.input_size)
        except ValueError as error:
            parser.error(f"--input_size {options.input_size[0]} {options.input_size[1]}: {error}")
    return _run(spec, options)


def _set_level(parser: argparse.ArgumentParser, options: argparse.Namespace, spec: ModelSpec) -> None:
    """Make one level, "JND1" to "JND3" or None, of what `--jnd_value` and `--jnd_column` say."""
    column = getattr(options, "jnd_column", None)
    if column is not None:
        if options.level not in (None, f"JND{column + 1}"):
            given = int(options.level[-1]) - 1
            parser.error(f"--jnd_value {options.level} is column {given}, not --jnd_column {column}")
        options.level = f"JND{column + 1}"
    if options.level is None and spec.needs_level and options.command != "predict":
        if spec.level_by_column:  # whose default is 0, as released
            options.level = "JND1"
            return
        parser.error(f"{spec.name} has one level: --jnd_value JND1, JND2 or JND3 is missing")
    if options.level and not spec.needs_level:
        warn(f"{spec.name} has all three levels at once; {options.level} changes nothing")
        options.level = None


def _run(spec: ModelSpec, options: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    if options.command == "train":
        from common.training.train import train

        startup.outlive_readers()
        train(spec, config_from(TrainingConfig, options))
    elif options.command == "test":
        from common.prediction.testing import TestConfig, test

        test(spec, config_from(TestConfig, options))
    elif options.command == "export":
        from common.prediction.export import ExportConfig, export

        export(spec, config_from(ExportConfig, options))
    else:
        from common.cli.predict import predict

        return predict(spec, options)
    return 0
