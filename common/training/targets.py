"""The ground truth of a network's outputs: labels, frames and attention maps of a rootdir."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.core.errors import UserError
from common.data import attention_maps
from common.data.dataset import Split, match_images
from common.data.layout import LABEL_FILE, LEVELS, split_folder
from common.data.levels import median_baseline
from common.media.formats import InputFormat
from common.models.registry import Output


@dataclass(frozen=True)
class Target:
    """What an output is compared with.

    Args:
        output: the output.
        columns: {"train": ..., "valid": ...}, paths of images or an array with a row an image.
        baseline: of a level, the error on valid of always predicting the training median; else NaN.
        note: about the data, for a person.
    """

    output: Output
    columns: Mapping[str, Any]
    baseline: float = float("nan")
    note: str = ""

    @property
    def is_level(self) -> bool:
        return self.output.target == "label"


def read_targets(
    outputs: Sequence[Output], splits: dict[str, Split], data_dir: Path, input_format: InputFormat
) -> list[Target]:
    """The ground truth of each output; raises UserError where some is missing or damaged."""
    return [_read(output, splits, data_dir, input_format) for output in outputs]


def _read(output: Output, splits: dict[str, Split], data_dir: Path, input_format: InputFormat) -> Target:
    match output.target:
        case "label":
            return _labels(output, splits)
        case "image":
            return Target(output, {name: split.images for name, split in splits.items()})
        case "frame":
            folders = {name: data_dir / split_folder(name, output.level or "") for name in splits}
            return Target(output, {name: match_images(split, folders[name]) for name, split in splits.items()})
        case "attention map":
            size = input_format.height // 8, input_format.width // 8  # what the decoder of common.models gives
            maps = {name: attention_maps.read_maps(split, data_dir, size) for name, split in splits.items()}
            note = f"{maps['valid'][1]} of {len(splits['valid'])} maps computed"
            return Target(output, {name: found for name, (found, _) in maps.items()}, note=note)
    raise ValueError(f"output {output.name}: target {output.target!r} is no kind of ground truth")


def _labels(output: Output, splits: dict[str, Split]) -> Target:
    index = LEVELS.index(output.level or "")
    for split in splits.values():
        if split.labels is not None and output.level not in split.levels:
            raise UserError(f"{split.folder / LABEL_FILE}: no {output.level} in it; train a network of JND1 alone")
    columns = {name: split.labels[:, index : index + 1] for name, split in splits.items() if split.labels is not None}
    return Target(output, columns, float(median_baseline(columns["train"].ravel(), columns["valid"].ravel())))
