"""The one exception that is meant for a person."""


class UserError(Exception):
    """Something that the user can mend: one line that says what was found, where, what was expected, what to do.

    Programs print it as `error: ...` and exit with code 2; it never shows as a traceback.
    """
