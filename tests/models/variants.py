"""The scripts' variants and command lines, for the tests of what they predict and how they train."""

import importlib

from common.cli.script import run_script
from common.models.registry import ModelSpec

SIZE = ("--input_size", 64, 64)  # where what a network is trained on does not matter


def variants_of(script):
    """The ModelSpec that a script defines, by name."""
    module = importlib.import_module(script)
    return {value.name: value for value in vars(module).values() if isinstance(value, ModelSpec)}


def call(script, *arguments):
    """A script's command line, inside this process."""
    variants = variants_of(script).values()
    return run_script("", *variants, arguments=[str(part) for part in arguments])
