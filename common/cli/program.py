"""What every command line shares: its parser, settings from its flags, and errors in one line."""

import argparse
import inspect
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from common.core import startup, stopping
from common.core.errors import UserError
from common.core.names import one_line, shorten
from common.core.threads import keep_freed_memory

Config = TypeVar("Config")


def config_from(cls: type[Config], options: argparse.Namespace, **changes: Any) -> Config:
    """Make a dataclass of settings from parsed flags: each field gets the flag of its name, or keeps its default.

    `changes` are fields whose flag has another name, or none.
    """
    names = inspect.signature(cls).parameters
    given = {name: value for name, value in vars(options).items() if name in names}
    return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()} | changes)


def run(main: Callable[[], int]) -> NoReturn:
    """Call `main()`, turn what goes wrong into one line, and exit: 0 well, 1 partly, 2 an error, 130 Ctrl-C."""
    keep_freed_memory()
    startup.settle_program()
    stopping.hooks.append(startup.remove_home)
    try:
        try:
            stopping.begin()
            code, line = main(), None
            sys.stdout.flush()
        except BaseException as error:
            if isinstance(error, SystemExit) and not stopping.stopped():  # argparse has said why
                stopping.clean()
                raise
            code, line = _describe(error)
        stopping.end(code, line)
    except BaseException as error:
        if stopping.stopped():  # while it was ending
            stopping.end(*_describe(error))
        raise


def _describe(error: BaseException) -> tuple[int, str | None]:
    """Return the exit code of a program that an exception ends, and a line for a person."""
    if stop := stopping.stopped():  # which may have become another exception on its way
        return stop
    match error:
        case KeyboardInterrupt():
            return 130, "\ninterrupted; what was saved is kept"
        case BrokenPipeError():  # the reader of our output left, as `head` does
            return 141, stopping.what_is_kept("standard output: its reader has gone; kept: ") or None
        case UserError():
            message = str(error)
        case OSError():  # a full disk, a folder that may not be written
            message = f"{error.filename or 'a file'}: {error.strerror or error}{stopping.what_is_kept('; kept: ')}"
        case MemoryError():
            message = f"out of memory; lower --batch_size{stopping.what_is_kept('; kept: ')}"
        case _ if type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's, which need not be loaded here
            message = "the device is out of memory; lower --batch_size"
        case _:
            sys.excepthook(type(error), error, error.__traceback__)
            return 1, None
    message = "\n".join(shorten(one_line(line)) for line in message.split("\n"))  # a field may hold anything
    return 2, f"error: {message}"


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help that keeps the layout of descriptions and shows defaults, but not None and False."""

    def _get_help_string(self, action):
        silent = action.default is None or action.default is False
        return action.help if silent else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviations of flags, and says in one line what is wrong with one."""

    def __init__(self, **settings: Any):
        super().__init__(**{"formatter_class": Help, "allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")
