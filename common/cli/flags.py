"""What the command lines of several programs share: kinds of values, the flags of a training."""

import argparse
import re
from collections.abc import Callable
from typing import Any

from common.training.config import TrainingConfig


def form(pattern: str, expected: str) -> Callable[[str], str]:
    """Make an argparse type: text of the regular expression `pattern`."""

    def parse(text):
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"{text!r}: expected {expected}")
        return text

    return parse


BATCH_SIZE = "images {} at once (default: {} on a CPU; on a GPU as many as its free memory holds, up to 32)"
TF32 = "on: GPUs round the factors of float32 products to 10 bits, which is faster"

FRAMES = form(
    r"first|middle|keyframes|scenes|(scenes\+)?(?!0*\.?0*s)\d+(\.\d+)?s|\d+(,\d+)*",
    "first, middle, keyframes, scenes, a span such as 1s, scenes+1s, or numbers from 0 such as 0,30,60",
)


def frames_flag(add: Callable, default: str, words: str) -> None:
    """Add --frames, which frames of a clip to take, with `add`; words: the default's meaning."""
    add(
        "--frames",
        type=FRAMES,
        default=default,
        help="which frames of a clip: first, middle, keyframes, scenes (the first of each), a span such as 2s (the "
        "first of each two seconds), scenes+2s for both, or numbers from 0 such as 0,30,60 "
        f"(default: %(default)s, {words})",
    )


def number(kind: type, expected: str, fits: Callable[[Any], bool]) -> Callable[[str], Any]:
    """Make an argparse type: a number of `kind`, finite, for which `fits` holds; `expected` is what a user reads."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not (abs(value) < float("inf") and fits(value)):
            raise argparse.ArgumentTypeError(f"{text!r}: expected {expected}")
        return value

    return parse


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Make an argparse type: a whole number within these bounds."""
    span = f"at least {least}" if most is None else f"from {least} to {most}"
    return number(int, f"a whole number, {span}", lambda value: least <= value and (most is None or value <= most))


COUNT = whole_number(1)
SEED = whole_number(0, 2**32 - 1)  # what NumPy and TensorFlow both take
POSITIVE = number(float, "a number above 0", lambda value: value > 0)
NOT_NEGATIVE = number(float, "a number from 0", lambda value: value >= 0)


def groups(parser: argparse.ArgumentParser, *more: str) -> list[Any]:
    """Add the groups in which every command shows its flags; return them in the order of the help.

    more: Titles of groups that this command has before the last one.
    """
    titles = ("what it needs", "what it writes", "how it computes", *more, "rarely needed")
    return [parser.add_argument_group(title) for title in titles]


def earlier_flags(group: Any, overwrite: str, resume: str) -> None:
    """Add --resume and --overwrite with their help; only one of them can be given."""
    earlier = group.add_mutually_exclusive_group()
    earlier.add_argument("--resume", action="store_true", help=resume)
    earlier.add_argument("--overwrite", action="store_true", help=overwrite)


def setting_flag(group: Any, name: str, text: str, **more: Any) -> None:
    """Add the flag of a setting of TrainingConfig, which has its default and its choices.

    text: The help.  more: What else `add_argument` takes, such as type and metavar.
    """
    setting = TrainingConfig.__dataclass_fields__[name]
    choices = setting.metadata.get("choices") or None
    group.add_argument(f"--{name}", choices=choices, default=setting.default, help=text, **more)


def training_flags(writes: Any, computes: Any, rare: Any, defaults: Any) -> None:
    """Add the flags that every training shares to three of its groups.

    defaults: Has `epochs`, `batch_size` and `learning_rate`.
    """
    add = computes.add_argument
    text = "go on with an earlier training where it stopped or ended"
    earlier_flags(writes, "replace weights and log of an earlier training", text)
    add("--epochs", type=COUNT, default=defaults.epochs, metavar="N", help="passes over the training images")
    add("--batch_size", type=COUNT, default=defaults.batch_size, metavar="N", help="images in a training step")
    text = "learning rate of Adam"
    add("--learning_rate", type=POSITIVE, default=defaults.learning_rate, metavar="X", help=text)
    setting_flag(computes, "decay", "cosine: the learning rate falls to 0 until the last epoch, along half a cosine")
    text = "AdamW: each step shrinks each weight by this share times the learning rate; the papers have 0"
    setting_flag(computes, "weight_decay", text, type=NOT_NEGATIVE, metavar="W")
    text = "in the last N epochs, BatchNormalization uses its moving averages, as in prediction, and keeps them fixed"
    setting_flag(computes, "settle", text, type=COUNT, metavar="N")
    text = (
        "how each epoch changes the training images. mirror: some are mirrored; flips: upside down too; shifts: "
        "mirrored and moved; what leaves on one side comes in on the other"
    )
    setting_flag(computes, "augment", text)
    setting_flag(computes, "patience", "stop after N epochs without a better one", type=COUNT, metavar="N")
    setting_flag(computes, "seed", "seed of the initial weights and of the order of images", type=SEED, metavar="N")
    setting_flag(computes, "precision", "number format of the arithmetic; weights and outputs stay float32")
    setting_flag(computes, "tf32", TF32)
    text = "one: the first GPU, or the CPU; all: each GPU takes its share of a batch; or names such as GPU:0,GPU:2"
    setting_flag(computes, "devices", text, type=_devices, metavar="D")
    text = "change the weights once in N batches, by their mean gradient: like N times the batch size, in less memory"
    setting_flag(rare, "accumulate", text, type=COUNT, metavar="N")
    text = "if an output has the same value for every image from the start: try other seeds, or stop"
    setting_flag(rare, "on_dead", text)
    text = "folder for the features of frozen layers, or `off` (default: features/ in the folder of the weights)"
    setting_flag(rare, "feature_cache", text, metavar="DIR")
    setting_flag(rare, "tensorboard", "folder for the losses as TensorBoard reads them", metavar="DIR")


def _devices(text):
    """Parse a flag: one, all, or devices by name."""
    if text not in ("one", "all") and not re.fullmatch(r"(GPU|CPU):\d(,(GPU|CPU):\d)*", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected one, all, or names such as GPU:0,GPU:1")
    named = text.split(",")
    if len(set(named)) < len(named):
        raise argparse.ArgumentTypeError(f"{text!r}: names a device twice")
    if len(named) == 1 and ":" in text:
        raise argparse.ArgumentTypeError(f"{text!r}: one device; CUDA_VISIBLE_DEVICES=N chooses a GPU, --devices some")
    return text
