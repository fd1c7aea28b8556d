"""The settings of a training, and the files that it writes."""

import json
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from common.core.environment import PRETRAINED
from common.core.names import file_or_default
from common.data.layout import LEVELS, Unit
from common.models.registry import ModelSpec


def _setting(default: Any, *, decides: bool = False, choices: tuple = (), least: float = 0) -> Any:
    """A field of TrainingConfig.

    Args:
        decides: the result of a training depends on it, so that `--resume` refuses another value.
        choices: its values; of a number, `least` is the lowest.
    """
    return field(default=default, metadata={"decides": decides, "choices": choices, "least": least})


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained; the flags of `train` have the same names, but --jnd_value, which is `level`.

    Args:
        data_dir: the rootdir with train/ and valid/.
        checkpoint_path: folder for the best weights, or the file; the state, the record and the curves lie there too.
        csv_log_path: folder for the CSV log of losses, or the file; by default the folder of the checkpoint.
        level: "JND1" to "JND3", or 1 to 3; None for a model that predicts all.
        label_unit: of the labels, "QP" or "QF".
        epochs, batch_size, learning_rate: 0 for the paper's.
        decay: of the learning rate, "none", or "cosine": it falls to 0 along half a cosine until the last epoch.
        weight_decay: the share of each weight, times the learning rate, that a step takes off (AdamW).
        settle: how many of the last epochs train as the network predicts: BatchNormalization normalizes by its moving
            statistics, which stay, instead of by those of each batch.
        seed: of initial weights and of the order of images.
        precision: of arithmetic, "float32", "mixed_bfloat16" or "mixed_float16"; weights stay float32.
        tf32: whether GPUs may round the factors of float32 products to 10 bits; "on" or "off".
        patience: stop after as many epochs without a better one.
        accumulate: change the weights only after as many batches, by their mean gradient.
        devices: "one", "all", or names such as "GPU:0,GPU:2".
        on_dead: "restart" with another seed, or "stop", where an output is the same for every image from the start.
        feature_cache: folder for the features of frozen layers, or "off"; by default it lies beside the checkpoint.
        tensorboard: folder for TensorBoard.
        overwrite, resume: replace an earlier training, or go on with it.
        backbone_weights: where the backbone's weights are found; see `common.models.backbones`.
        start_from: weight file, or its folder, that the whole network starts from; the backbone's is not needed then.
        input_size: (height, width) that the network sees, None for the paper's.
        patch: (height, width) of patches to train on instead of whole images; for fully convolutional networks.
        attention_weight: of the loss of an attention map; 0 trains without that output, and needs no maps.
        augment: "none"; "mirror", each image as it is or mirrored, drawn anew each epoch; "flips", upside down too;
            "shifts", mirrored and moved, what leaves on one side comes in on the other.
        output_bias: start of a level's bias, "mean" for the mean training label, or "zero".

    Raises:
        ValueError: a setting has a value that it does not take.
    """

    data_dir: str | Path
    checkpoint_path: str | Path
    csv_log_path: str | Path | None = None
    level: Any = _setting(None, decides=True, choices=(None, *LEVELS))
    label_unit: Unit = _setting("QP", decides=True, choices=("QP", "QF"))
    epochs: int = _setting(0)
    batch_size: int = _setting(0, decides=True)
    learning_rate: float = _setting(0.0, decides=True)
    decay: str = _setting("none", decides=True, choices=("none", "cosine"))
    weight_decay: float = _setting(0.0, decides=True)
    settle: int = _setting(0, decides=True)
    seed: int = _setting(0, decides=True)
    precision: str = _setting("float32", decides=True, choices=("float32", "mixed_bfloat16", "mixed_float16"))
    tf32: str = _setting("on", choices=("on", "off"))
    patience: int | None = _setting(None, least=1)
    accumulate: int = _setting(1, decides=True, least=1)
    devices: str = "one"
    on_dead: str = _setting("restart", choices=("restart", "stop"))
    feature_cache: str | Path | None = None
    tensorboard: str | Path | None = None
    overwrite: bool = False
    resume: bool = False
    backbone_weights: str | Path | None = PRETRAINED
    start_from: str | Path | None = None
    input_size: tuple[int, int] | None = _setting(None, decides=True)
    patch: tuple[int, int] | None = _setting(None, decides=True)
    attention_weight: float = _setting(1.0, decides=True)
    augment: str = _setting("none", decides=True, choices=("none", "mirror", "flips", "shifts"))
    output_bias: str = _setting("mean", decides=True, choices=("mean", "zero"))

    def __post_init__(self):
        if self.level in (1, 2, 3):
            object.__setattr__(self, "level", f"JND{self.level}")
        for setting in _SETTINGS:
            value, choices = getattr(self, setting.name), setting.metadata["choices"]
            if choices and value not in choices:
                raise ValueError(f"{setting.name} {value!r}: expected {', '.join(map(str, choices))}")
            if isinstance(value, int | float) and value < setting.metadata["least"]:
                raise ValueError(f"{setting.name} {value}: expected at least {setting.metadata['least']}")
        for name in ("input_size", "patch"):
            size = getattr(self, name)
            if size is not None and not (len(tuple(size)) == 2 and min(size) > 0):
                raise ValueError(f"{name} {size}: expected (height, width)")

    def decisive(self) -> dict[str, Any]:
        """{flag: value} of the settings on which the result depends, as JSON has them."""
        return _as_json({_flag(setting): getattr(self, setting.name) for setting in _DECISIVE})

    def difference(self, before: dict[str, Any]) -> str:
        """What sets this apart from the `decisive` settings of an earlier training, for a person; "" for nothing.

        `before` may be of an earlier version, which had other settings besides, and lacked some, which had the default.
        """
        if before.get("jnd_value") is None and before.get("level"):  # the level had been given by --jnd_column
            before = {**before, "jnd_value": f"JND{before['level']}"}
        before = _as_json({_flag(setting): setting.default for setting in _DECISIVE}) | before
        for name, value in self.decisive().items():
            if before[name] != value:
                return f"--{name} {before[name]}, not {value}"
        return ""

    def recorded(self) -> dict[str, Any]:
        """{flag: value} of all settings, for the record of the training."""
        return {_flag(setting): getattr(self, setting.name) for setting in fields(self)}


_SETTINGS = [setting for setting in fields(TrainingConfig) if setting.metadata]
_DECISIVE = [setting for setting in _SETTINGS if setting.metadata["decides"]]


def _flag(setting: Field) -> str:
    return "jnd_value" if setting.name == "level" else setting.name


def _as_json(settings: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(settings))


@dataclass(frozen=True)
class TrainingFiles:
    """Where a training writes; `label` marks what lies beside the checkpoint, so that two can share a folder."""

    checkpoint: Path
    log: Path
    label: str

    @classmethod
    def of(cls, spec: ModelSpec, config: TrainingConfig) -> "TrainingFiles":
        """The files of a model's training."""
        checkpoint = file_or_default(config.checkpoint_path, spec.checkpoint_name(config.level))
        own = checkpoint.name == spec.checkpoint_name(config.level)
        log = file_or_default(config.csv_log_path or checkpoint.parent, spec.log_name(config.level))
        return cls(checkpoint, log, spec.marked(config.level) if own else f"_{checkpoint.stem}")

    def sibling(self, kind: str, suffix: str) -> Path:
        """A file of the training beside the checkpoint, such as `stateJND1.npz`."""
        return self.checkpoint.with_name(f"{kind}{self.label}{suffix}")

    @property
    def state(self) -> Path:
        return self.sibling("state", ".npz")
