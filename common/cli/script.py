"""The command line of the scripts: from arguments to a command."""

import sys

from common.cli import script_flags
from common.cli.program import Parser, run

COMMANDS = {
    "train": "train on ROOT/train, keep the epoch best on ROOT/valid",
    "test": "predict the levels of ROOT/test",
    "predict": "the levels of any pictures and clips",
    "export": "write the network as a file of another runtime: ONNX, OpenVINO, LiteRT, SavedModel",
}


def run_script(doc, *variants, arguments=None):
    """Parse and run a model's command line.  Returns the exit code.

    Each of COMMANDS has its flags in common.cli.script_flags, `train_flags`.
    doc: the script's docstring, its help.  variants: the model, or several, among which `--head` chooses.
    """
    parser = Parser(description=doc)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, purpose in COMMANDS.items():
        getattr(script_flags, f"{name}_flags")(commands.add_parser(name, help=purpose), variants)
    options = parser.parse_args(arguments)
    variant = next(v for v in variants if len(variants) == 1 or v.name == options.head)
    if options.command == "predict" and not options.encode:
        for flag in options.of_coding:
            if getattr(options, flag.dest) != flag.default:
                name = flag.option_strings[0]
                parser.error(f"{name}: says how to code, and nothing is to be coded; add --encode DIR")
    options.level = int(options.jnd_value[-1]) if options.jnd_value else None
    column = getattr(options, "jnd_column", None)
    if column is not None:
        if options.level not in (None, column + 1):
            parser.error(f"--jnd_value {options.jnd_value} is column {options.level - 1}, not --jnd_column {column}")
        options.level = column + 1
    if options.level is None and variant.needs_level and options.command != "predict":
        parser.error(f"{variant.name} has one level: --jnd_value JND1, JND2 or JND3 is missing")
    if options.level and not variant.needs_level:
        print(f"{variant.name} has all three levels at once; JND{options.level} changes nothing", file=sys.stderr)
    if options.input_size:
        try:
            variant = variant.resized(*options.input_size)
        except ValueError as error:
            parser.error(f"--input_size {options.input_size[0]} {options.input_size[1]}: {error}")
    if getattr(options, "backend", None):
        from common.core.keras_backend import use_backend

        use_backend(options.backend)
    return _command(options.command)(variant, options)


def _command(name):
    """What a command does, which is imported only now: NumPy, Pillow and h5py take their time."""
    if name == "train":
        from common.training.train import train as command
    elif name == "test":
        from common.prediction.testing import test as command
    elif name == "predict":
        from common.cli.predict import predict as command
    else:
        from common.prediction.export import export as command
    return command


def main(doc, *variants):
    """What a script runs: its command line, with errors as one line, and the exit code."""
    run(lambda: run_script(doc, *variants))
