"""The command line: the flags that scripts share, and how errors reach a person."""

import argparse
import ctypes
import os
import re
import signal
import sys

from common.errors import UserError
from common.files import PRETRAINED


def run(main):
    """Call `main()`, turn what goes wrong into one line, and exit: 0 well, 1 partly, 2 an error, 130 Ctrl-C."""
    _keep_freed_memory()
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


def _keep_freed_memory():
    """Let glibc reuse the memory of big arrays instead of handing it back and clearing it anew for each picture."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another system; nothing depends on it
        return
    mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD: the most it allows
    mallopt(-1, 512 << 20)  # M_TRIM_THRESHOLD


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help that keeps the layout of descriptions and shows every default that says something."""

    def _get_help_string(self, action):
        silent = action.default is None or action.default is False
        return action.help if silent else super()._get_help_string(action)


def script(doc, *variants, arguments=None):
    """Parse and run a model's command line: `train` or `test`.  Returns the exit code.

    doc: the script's docstring, its help.  variants: the model, or several, among which `--head` chooses.
    """
    style = {"formatter_class": Help, "allow_abbrev": False}
    parser = argparse.ArgumentParser(description=doc, **style)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("train", help="train on ROOT/train, keep the epoch best on ROOT/valid", **style)
    _train_flags(command, variants)
    command = commands.add_parser("test", help="predict the levels of ROOT/test", **style)
    _test_flags(command, variants)
    options = parser.parse_args(arguments)
    variant = next(v for v in variants if len(variants) == 1 or v.name == options.head)
    options.level = int(options.jnd_value[-1]) if options.jnd_value else None
    column = getattr(options, "jnd_column", None)
    if column is not None:
        if options.level not in (None, column + 1):
            parser.error(f"--jnd_value {options.jnd_value} is column {options.level - 1}, not --jnd_column {column}")
        options.level = column + 1
    if options.level is None and not variant.joint:
        parser.error(f"{variant.name} has one level: --jnd_value JND1, JND2 or JND3 is missing")
    if options.level and variant.joint:
        print(f"{variant.name} has all three levels at once; JND{options.level} changes nothing", file=sys.stderr)
    if options.input_size:
        try:
            variant = variant.resized(*options.input_size)
        except ValueError as error:
            parser.error(f"--input_size {options.input_size[0]} {options.input_size[1]}: {error}")
    from common import scripts

    return {"train": scripts.train, "test": scripts.test}[options.command](variant, options)


def positive(kind):
    """An argparse type: a number of `kind` above 0."""

    def parse(text):
        try:
            number = kind(text)
        except ValueError:
            number = 0
        if not 0 < number < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is no {'whole ' if kind is int else ''}number above 0")
        return number

    return parse


def training_flags(parser, *, epochs, batch_size, learning_rate):
    """Add the flags that every training shares, with the defaults given."""
    parser.add_argument("--epochs", type=positive(int), default=epochs, help="times each training picture is seen")
    parser.add_argument("--batch_size", type=positive(int), default=batch_size, help="pictures a training step")
    parser.add_argument("--learning_rate", type=positive(float), default=learning_rate, help="of Adam")
    parser.add_argument("--seed", type=_seed, default=0, help="of initial weights and order of pictures")
    parser.add_argument(
        "--precision",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
        default="float32",
        help="of arithmetic; weights and outputs stay float32",
    )
    parser.add_argument("--patience", type=positive(int), metavar="N", help="stop after N epochs without a better one")
    parser.add_argument(
        "--accumulate",
        type=positive(int),
        default=1,
        metavar="N",
        help="change the weights only after N batches, by their mean gradient: N times the batch in the memory of one",
    )
    parser.add_argument(
        "--devices",
        type=_devices,
        default="one",
        help="all: each GPU of the machine takes its share of a batch; or some, such as GPU:0,GPU:2; or one",
    )
    parser.add_argument(
        "--on_dead",
        choices=("restart", "stop"),
        default="restart",
        help="where an output has one answer for every picture from the start: try other seeds, or stop",
    )
    parser.add_argument(
        "--feature_cache",
        metavar="DIR",
        help="where to keep what frozen layers say of each picture, or `off`; by default beside the checkpoint",
    )
    parser.add_argument("--tensorboard", metavar="DIR", help="write losses for TensorBoard there too")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--overwrite", action="store_true", help="replace weights and log of an earlier training")
    again.add_argument("--resume", action="store_true", help="go on where an earlier training was killed or ended")


def _devices(text):
    """An argparse type: one, all, or devices by name."""
    if text not in ("one", "all") and not re.fullmatch(r"(GPU|CPU):\d(,(GPU|CPU):\d)*", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected one, all, or names such as GPU:0,GPU:1")
    return text


def _seed(text):
    """An argparse type: what NumPy and TensorFlow both take as a seed."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {2**32 - 1}")
    return int(text)


def _common_flags(parser, variants):
    if len(variants) > 1:
        parser.add_argument("--head", choices=[v.name for v in variants], required=True, help="which of the models")
    needless = all(v.joint for v in variants)
    parser.add_argument(
        "--jnd_value",
        choices=("JND1", "JND2", "JND3"),
        required=not any(v.joint for v in variants),
        help="taken, changes nothing: all levels at once" if needless else "the level",
    )
    if any(v.vgg for v in variants):
        parser.add_argument("--jnd_column", type=int, choices=(0, 1, 2), help="the same, counted from 0")
    parser.add_argument("--data_dir", required=True, metavar="ROOT", help="the rootdir with train/, valid/, test/")
    parser.add_argument(
        "--input_size",
        type=positive(int),
        nargs=2,
        metavar=("H", "W"),
        help="height and width that the network sees; released weights fit only the released size",
    )
    parser.add_argument(
        "--label_unit",
        choices=("QP", "QF"),
        default="QP",
        help="of JND-Levels.txt: QP 0 to 51, or JPEG quality factors 0 to 100",
    )


def _train_flags(parser, variants):
    first, *_ = variants
    _common_flags(parser, variants)
    parser.add_argument(
        "--checkpoint_path", required=True, metavar="C", help="folder for the best weights, or the file"
    )
    parser.add_argument(
        "--csv_log_path", required=True, metavar="L", help="folder for the CSV log of losses, or the file"
    )
    _backbone_flag(parser, first, training=True)
    training_flags(
        parser, epochs=first.paper.epochs, batch_size=first.paper.batch_size, learning_rate=first.paper.learning_rate
    )
    if first.vgg:
        parser.add_argument(
            "--vgg_weights",
            default="imagenet",
            metavar="FILE",
            help="what VGG16 starts from: imagenet, a local file of its weights without top, or none",
        )
    if any(v.attention for v in variants):
        parser.add_argument(
            "--attention_weight",
            type=positive(float),
            default=1.0,
            help="of the attention map's loss beside each level's 1; the VA heads only",
        )
    parser.add_argument(
        "--output_bias",
        choices=("mean", "zero"),
        default="mean",
        help="start of the output's bias: the mean training label, or zero as released",
    )


def _test_flags(parser, variants):
    first, *_ = variants
    _common_flags(parser, variants)
    files = ", ".join(dict.fromkeys(v.weights.format(level=1) for v in variants))
    parser.add_argument(
        "--model_weights_path", default=PRETRAINED, metavar="W", help=f"{files}, or a folder that holds it"
    )
    parser.add_argument("--result_path", required=True, metavar="OUT", help="folder for the result CSV, or the file")
    _backbone_flag(parser, first, training=False)
    parser.add_argument(
        "--batch_size", type=positive(int), default=first.test_batch_size, help="pictures predicted at once"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of weights and arithmetic; bfloat16 is faster where the processor has it, and within about 0.1 QP",
    )


def _backbone_flag(parser, variant, training):
    if variant.backbones:
        note = "" if training else "; may be left out: the model's own weights hold what it needs of them"
        parser.add_argument(
            variant.backbone_flag,
            dest="backbone_path",
            default=PRETRAINED if training else None,
            metavar="R",
            help=f"{', '.join(variant.backbones).format(level=1)}, or a folder that holds it{note}",
        )
