"""What every command line shares: its parser, settings from its flags, and errors in one line."""

import argparse
import inspect
import os
import platform
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from common import __version__
from common.core import device, messages, startup, stopping
from common.core.environment import PROJECT, machine
from common.core.errors import UserError
from common.core.names import one_line, shorten
from common.core.threads import keep_freed_memory

if "_ARGCOMPLETE" in os.environ:  # a shell wants to know how a command line may go on
    import argcomplete
else:
    argcomplete = None

Config = TypeVar("Config")

EXIT_CODES = "exit codes: 0 all done, 1 done in part, 2 an error, 130 stopped by Ctrl-C; more in docs/commands.md"


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
    if messages.level == messages.VERBOSE and isinstance(error, UserError | OSError | MemoryError):
        sys.excepthook(type(error), error, error.__traceback__)
    match error:
        case KeyboardInterrupt():
            return 130, "\ninterrupted; what was saved is kept"
        case SystemExit(code=int(code)):  # argparse has said why
            return code, None
        case BrokenPipeError():  # the reader of our output left, as `head` does
            return 141, stopping.what_is_kept("standard output: its reader has gone; kept: ") or None
        case UserError():
            message = str(error)
        case FileNotFoundError(errno=int(number), filename=None) if error.strerror == os.strerror(number):  # os.getcwd
            message = "the current folder was removed; change to another one"
        case OSError():  # a full disk, a folder that may not be written
            message = f"{error.filename or 'a file'}: {error.strerror or error}{stopping.what_is_kept('; kept: ')}"
        case MemoryError():
            message = f"out of memory; lower --batch_size{stopping.what_is_kept('; kept: ')}"
        case _ if device.is_out_of_memory(error):
            message = "the device is out of memory; lower --batch_size"
        case _:
            sys.excepthook(type(error), error, error.__traceback__)
            return 1, None
    message = "\n".join(shorten(one_line(line)) for line in message.split("\n"))  # a field may hold anything
    return 2, f"error: {message}"


class Help(argparse.RawDescriptionHelpFormatter):
    """Help that keeps the layout of descriptions and examples, shows defaults, and has a short line of usage."""

    def __init__(self, prog: str, **settings: Any):
        super().__init__(prog, max_help_position=28, **settings)

    def _fill_text(self, text, width, indent):
        """Keep the lines of a text that has several."""
        formatter = super() if "\n" in text else argparse.HelpFormatter(self._prog)
        return formatter._fill_text(text, width, indent)

    def _split_lines(self, text, width):
        """Wrap a flag's help between words, not within a name such as h264-crf."""
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _get_help_string(self, action):
        default, text = action.default, action.help or ""
        if default is None or default is False or default == argparse.SUPPRESS or "(default" in text:
            return text
        if isinstance(default, Path) and default.is_relative_to(PROJECT):
            default = f"{default.relative_to(PROJECT)}/"
        shown = " ".join(map(str, default)) if isinstance(default, list) else str(default)
        return f"{text} (default: {shown.replace('%', '%%')})"

    def _format_usage(self, usage, actions, groups, prefix):
        """The usage with what must be given, and [options] for the rest."""
        needed = [action for action in actions if action.required or not action.option_strings]
        text = super()._format_usage(usage, needed, [], prefix)
        return text if len(needed) == len(list(actions)) else f"{text.rstrip()} [options]\n\n"


class Parser(argparse.ArgumentParser):
    """A parser of a program or of one of its commands.

    It takes no abbreviations of flags, has --quiet and --verbose, and says in one line what is wrong with a flag.
    """

    def __init__(self, examples: Sequence[str] = (), **settings: Any):
        """Make it.  examples: What follows the program's name in some commands that users may want to type."""
        super().__init__(**{"formatter_class": Help, "allow_abbrev": False, **settings})
        start = self.prog if self.prog.startswith("python3 ") else f"python3 {self.prog}"
        lines = [f"  {start} {example}".rstrip() for example in examples]
        self.epilog = "\n".join([*(["examples:", *lines, ""] if lines else []), EXIT_CODES])
        self._optionals.title = "in every command"
        loudness = self.add_mutually_exclusive_group()
        for name, level, text in (
            ("quiet", messages.QUIET, "print results and errors only: no progress, no warnings"),
            ("verbose", messages.VERBOSE, "print more, to find a fault: versions, FFmpeg's commands, tracebacks"),
        ):
            suppress = argparse.SUPPRESS  # so that a command's default does not replace what stands before its name
            loudness.add_argument(
                f"--{name}", dest="loudness", action="store_const", const=level, default=suppress, help=text
            )

    def format_help(self) -> str:
        """Return the help, with what every command has at its end."""
        self._action_groups.sort(key=lambda group: group is self._optionals)
        return super().format_help()

    def parse_args(self, arguments: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Parse the arguments of a program, and set how much it says."""
        if argcomplete:
            argcomplete.autocomplete(self)
        options = super().parse_args(arguments, namespace)
        messages.level = vars(options).pop("loudness", messages.inherited)
        messages.detail(f"version {__version__}, Python {platform.python_version()} on {machine()}")
        return options

    def parse_known_args(self, arguments: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse the arguments of a program or a command, whose own help an error then names."""
        options, unknown = super().parse_known_args(arguments, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help or an error; argparse's own hides that it could not be written."""
        print(message, end="", file=file or sys.stderr, flush=True)

    def error(self, message: str) -> NoReturn:
        """End the program with the message."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")
