"""The command line: the flags that scripts share, and how errors reach a person."""
import argparse
import sys

from common.errors import UserError


def run(main):
    """Call `main()`, turn what goes wrong into one line, and exit: 0 well, 1 partly, 2 an error, 130 Ctrl-C."""
    try:
        sys.exit(main())
    except UserError as error:
        message = str(error)
    except KeyboardInterrupt:
        print("\ninterrupted; what was saved is kept", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output left, as `head` does
        sys.stdout = None
        sys.exit(141)
    except OSError as error:  # a full disk, a folder that may not be written
        message = f"{error.filename or 'a file'}: {error.strerror or error}"
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help that keeps the layout of descriptions and shows every default that says something."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, False) else super()._get_help_string(action)
