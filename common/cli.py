"""The command line of the scripts, and how errors reach a person."""

import argparse
import os
import signal
import sys

from common import script_flags
from common.errors import UserError
from common.malloc import keep_freed_memory


def run(main):
    """Call `main()`, turn what goes wrong into one line, and exit: 0 well, 1 partly, 2 an error, 130 Ctrl-C."""
    keep_freed_memory()
    sys.stdout.reconfigure(errors="backslashreplace")  # a file's name must not end a program
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception, so that what is half written goes
    try:
        code = main()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # TensorFlow takes more than a second to free one by one what the system frees at once
    except UserError as error:
        message = str(error)
    except KeyboardInterrupt:
        print("\ninterrupted; what was saved is kept", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:  # a full disk, a folder that may not be written
        message = f"{error.filename or 'a file'}: {error.strerror or error}"
    except MemoryError:
        message = "out of memory; lower --batch_size"
    except Exception as error:
        if type(error).__name__ != "ResourceExhaustedError":  # TensorFlow's, which need not be loaded here
            raise
        message = "the device is out of memory; lower --batch_size"
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help that keeps the layout of descriptions and shows every default that says something."""

    def _get_help_string(self, action):
        silent = action.default is None or action.default is False
        return action.help if silent else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """Of a command line: flags are written out, and what is wrong with one is said in one line."""

    def __init__(self, **how):
        super().__init__(**{"formatter_class": Help, "allow_abbrev": False, **how})

    def error(self, message):
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


COMMANDS = {
    "train": "train on ROOT/train, keep the epoch best on ROOT/valid",
    "test": "predict the levels of ROOT/test",
    "predict": "the levels of any pictures and clips",
    "export": "write the network as a file of another runtime: ONNX, OpenVINO, LiteRT, SavedModel",
}


def script(doc, *variants, arguments=None):
    """Parse and run a model's command line.  Returns the exit code.

    Each of COMMANDS has its flags in common.script_flags, `train_flags`, and what it does in common.scripts, `train`.
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
    if options.level is None and not variant.joint and options.command != "predict":
        parser.error(f"{variant.name} has one level: --jnd_value JND1, JND2 or JND3 is missing")
    if options.level and variant.joint:
        print(f"{variant.name} has all three levels at once; JND{options.level} changes nothing", file=sys.stderr)
    if options.input_size:
        try:
            variant = variant.resized(*options.input_size)
        except ValueError as error:
            parser.error(f"--input_size {options.input_size[0]} {options.input_size[1]}: {error}")
    if getattr(options, "backend", None):
        from common.programs import use_backend

        use_backend(options.backend)
    from common import scripts

    return getattr(scripts, options.command)(variant, options)
