"""What the scripts share, a package a storey; docs/architecture.md is the map.

`load` gives a model that predicts, `train` trains one, `list_models` names them.  What a user can mend is raised as
`UserError`.
"""

import importlib

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
