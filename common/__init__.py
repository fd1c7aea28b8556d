"""What the scripts share, a package a storey; docs/architecture.md is the map.

`load` gives a model that predicts, `train` trains one, `list_models` names them.  What a user can mend is raised as
`UserError`.
"""

import _signal  # type: ignore  # has no stubs; `signal` itself takes as long to import as the rest of this file
import importlib
import os
import sys

__version__ = "0.9.0"
PARENT = "JND_PARENT_PROCESS"  # the variable with the number of the program of ours that has started this one

_WHERE = {
    "load": "prediction.predictor",
    "Predictor": "prediction.predictor",
    "Prediction": "prediction.predictor",
    "train": "training.train",
    "list_models": "models.registry",
    "UserError": "core.errors",
}


def __dir__():
    return sorted({*globals(), *_WHERE})


def __getattr__(name: str):
    if name not in _WHERE:  # imported at the first use, because NumPy and Pillow are slow to import
        raise AttributeError(f"module 'common' has no attribute {name!r}")
    return getattr(importlib.import_module(f"common.{_WHERE[name]}"), name)


def _is_program() -> bool:
    """Return whether a command of ours has been started, and not a user's program or notebook that imports us."""
    if sys.orig_argv[1:2] == ["-m"]:
        return sys.orig_argv[2].startswith("common.")
    main = getattr(sys.modules["__main__"], "__file__", None)
    if not main or not os.path.isfile(main):  # an interpreter's <stdin>
        return False
    if os.path.dirname(os.path.abspath(main)) != os.path.dirname(os.path.dirname(__file__)):
        return False
    with open(main, "rb") as file:
        return b"common.cli" in file.read()


def _interrupt(number: int, frame: object) -> None:
    """End the program after Ctrl-C."""
    try:
        if PARENT not in os.environ:  # else that program says it
            os.write(2, b"\ninterrupted\n")
    finally:
        os._exit(128 + number)


if _is_program():
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        # Until `common.core.stopping` is there: an exception among imports shows a traceback, or is lost in NumPy's.
        _signal.signal(_signal.SIGINT, _interrupt)
    for name in [name for name in os.environ if name.startswith("TQDM_") and name != "TQDM_DISABLE"]:
        del os.environ[name]  # a wrong one ends tqdm's import with a traceback
