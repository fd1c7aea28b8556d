"""The settings of a training, and the files that it writes."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from common.core.environment import PRETRAINED
from common.core.files import file_or_default
from common.data.labels import Unit
from common.models.registry import ModelSpec


def _decides(default: Any, flag: str = "") -> Any:
    """A field on which the result of a training depends, so that `--resume` refuses another value."""
    return field(default=default, metadata={"decides": True, "flag": flag})


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained; the flags of `train` have the same names.

    Args:
        data_dir: the rootdir with train/ and valid/.
        checkpoint_path: folder for the best weights, or the file; the state, the record and the curves lie there too.
        csv_log_path: folder for the CSV log of losses, or the file; by default the folder of the checkpoint.
        level: "JND1" to "JND3"; None for a model that predicts all.
        label_unit: of the labels, "QP" or "QF".
        epochs, batch_size, learning_rate: 0 for the paper's.
        seed: of initial weights and of the order of images.
        precision: of arithmetic, "float32", "mixed_bfloat16" or "mixed_float16"; weights stay float32.
        patience: stop after as many epochs without a better one.
        accumulate: change the weights only after as many batches, by their mean gradient.
        devices: "one", "all", or names such as "GPU:0,GPU:2".
        on_dead: "restart" with another seed, or "stop", where an output is the same for every image from the start.
        feature_cache: folder for the features of frozen layers, or "off"; by default beside the checkpoint.
        tensorboard: folder for TensorBoard.
        overwrite, resume: replace an earlier training, or go on with it.
        backbone_weights: where the backbone's weights are found; see `common.models.backbones`.
        start_from: weight file that the whole network starts from.
        input_size: (height, width) that the network sees, None for the paper's.
        patch: (height, width) of patches to train on instead of whole images; for fully convolutional networks.
        attention_weight: of the loss of an attention map.
        output_bias: start of a level's bias, "mean" for the mean training label, or "zero".
    """

    data_dir: Path
    checkpoint_path: Path
    csv_log_path: Path | None = None
    level: str | None = _decides(None, "jnd_value")
    label_unit: Unit = _decides("QP")
    epochs: int = 0
    batch_size: int = _decides(0)
    learning_rate: float = _decides(0.0)
    seed: int = _decides(0)
    precision: str = _decides("float32")
    patience: int | None = None
    accumulate: int = _decides(1)
    devices: str = "one"
    on_dead: str = "restart"
    feature_cache: str | Path | None = None
    tensorboard: str | Path | None = None
    overwrite: bool = False
    resume: bool = False
    backbone_weights: str | Path | None = PRETRAINED
    start_from: Path | None = None
    input_size: tuple[int, int] | None = _decides(None)
    patch: tuple[int, int] | None = _decides(None)
    attention_weight: float = _decides(1.0)
    output_bias: str = _decides("mean")

    @property
    def jnd(self) -> int | None:
        """The number of the level, 1 to 3, or None."""
        return int(self.level[-1]) if self.level else None

    def decisive(self) -> dict[str, Any]:
        """{flag: value} of the settings on which the result depends, as JSON has them."""
        found = {known.metadata["flag"] or known.name: getattr(self, known.name) for known in _DECISIVE}
        return json.loads(json.dumps(found))

    def difference(self, before: dict[str, Any]) -> str:
        """What sets this apart from the `decisive` settings of an earlier training, for a person; "" for nothing.

        `before` may be of an earlier version, which had other settings besides.
        """
        if before.get("jnd_value") is None and before.get("level"):  # the level had been given by --jnd_column
            before = {**before, "jnd_value": f"JND{before['level']}"}
        for name, value in self.decisive().items():
            if name in before and before[name] != value:
                return f"--{name} {before[name]}, not {value}"
        return ""

    def recorded(self) -> dict[str, Any]:
        """All settings, for the record of the training."""
        return asdict(self)


_DECISIVE = [known for known in fields(TrainingConfig) if known.metadata.get("decides")]


@dataclass(frozen=True)
class TrainingFiles:
    """Where a training writes; `label` marks what lies beside the checkpoint, so that two can share a folder."""

    checkpoint: Path
    log: Path
    label: str

    @classmethod
    def of(cls, spec: ModelSpec, config: TrainingConfig) -> "TrainingFiles":
        """The files of a model's training."""
        checkpoint = file_or_default(config.checkpoint_path, spec.checkpoint_name(config.jnd))
        own = checkpoint.name == spec.checkpoint_name(config.jnd)
        log = file_or_default(config.csv_log_path or checkpoint.parent, spec.log_name(config.jnd))
        return cls(checkpoint, log, spec.marked(config.jnd) if own else f"_{checkpoint.stem}")

    def sibling(self, kind: str, suffix: str) -> Path:
        """A file of the training beside the checkpoint, such as `stateJND1.npz`."""
        return self.checkpoint.with_name(f"{kind}{self.label}{suffix}")

    @property
    def state(self) -> Path:
        return self.sibling("state", ".npz")
