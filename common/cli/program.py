"""What every command line shares: its parser, settings from its flags, and errors in one line."""

import argparse
import inspect
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from common.core import startup
from common.core.errors import UserError
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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception, so that what is half written goes
    try:
        startup.leave(main())
    except UserError as error:
        message = str(error)
    except KeyboardInterrupt:
        print("\ninterrupted; what was saved is kept", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output left, as `head` does
        startup.discard_output(1, 2)
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
