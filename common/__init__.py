"""What the seven scripts share, one subject a file.  Nothing here imports a script.

`from common import load` is the way in for other programs: a model that predicts the levels of pictures.
What a user can mend is raised as `UserError`.
"""


def __getattr__(name):
    if name in ("load", "Predictor", "Prediction"):  # only when asked for: NumPy and Pillow take their time
        from common.prediction import predictor

        return getattr(predictor, name)
    if name == "train":
        from common.training.train import train

        return train
    if name == "list_models":
        from common.models.registry import list_models

        return list_models
    if name == "UserError":
        from common.core.errors import UserError

        return UserError
    raise AttributeError(f"module 'common' has no attribute {name!r}")
