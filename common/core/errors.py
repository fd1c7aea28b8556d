"""The one exception that is meant for a person."""

from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


class UserError(Exception):
    """Something that the user can mend: one line that says what was found, where, what was expected, what to do.

    Programs print it as `error: ...` and exit with code 2; it never shows as a traceback.
    """


def attempt(work: Callable[..., Result], *arguments: Any) -> Result | UserError:
    """Return what `work(*arguments)` returns, or a UserError like the one that it raises, for work on many items."""
    try:
        return work(*arguments)
    except UserError as error:
        return UserError(*error.args)  # without the traceback, which would keep the images of the work in memory
