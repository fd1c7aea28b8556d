"""What is trained: a model with its settings, data and files, as Keras needs them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common.models import losses, weight_files
from common.models.backbones import build_network
from common.models.registry import ModelSpec
from common.training.config import TrainingConfig, TrainingFiles
from common.training.targets import Target


@dataclass(frozen=True)
class Training:
    """What is trained, how, on what, and where it goes.

    Args:
        spec, config, files: of the model and this training.
        images: {"train": paths, "valid": paths}.
        targets: the ground truth of each output, in the order of the network's outputs.
        backbone_weights: what `Backbone.find` found.
    """

    spec: ModelSpec
    config: TrainingConfig
    files: TrainingFiles
    images: Mapping[str, Sequence[Path]]
    targets: list[Target]
    backbone_weights: list[Any]

    @property
    def columns(self) -> dict[str, list]:
        """{"train": a column an output, "valid": likewise}, as Batches takes them."""
        return {name: [target.columns[name] for target in self.targets] for name in self.images}

    @property
    def labels(self) -> dict[str, np.ndarray]:
        """{output: labels of valid (N, 1)} of the outputs that predict levels."""
        return {t.output.name: np.asarray(t.columns["valid"]) for t in self.targets if t.is_level}

    def build(self) -> tuple[Any, Any]:
        """(the network that learns, the part of it whose weights are kept), freshly made, not compiled."""
        spec, config = self.spec, self.config
        if config.patch:
            model = spec.build((*config.patch, 3))
        else:
            model = build_network(spec, self.backbone_weights)
        if config.start_from:
            weight_files.load(model, config.start_from)
        declared = [target.output.name for target in self.targets]
        if model.output_names != declared[: len(model.output_names)]:
            raise ValueError(f"{spec.name}: the network's outputs are {model.output_names}, its ModelSpec's {declared}")
        if config.output_bias == "mean":
            for target in self.targets:
                if target.is_level:  # a ReLU unit that starts below zero never learns
                    layer = model.get_layer(target.output.name)
                    if not hasattr(layer, "bias"):
                        problem = f"{layer.name} has no bias to start at the mean label; see output_bias"
                        raise ValueError(f"{spec.name}: {problem}")
                    layer.bias.assign(np.mean(target.columns["train"], axis=0))
        if spec.build_auxiliary is None:
            return model, model
        return keras.Model(model.input, [*model.outputs, *spec.build_auxiliary(model)]), model

    def compile_arguments(self) -> dict[str, Any]:
        """The arguments of Keras's `compile`, all but the optimizer."""
        outputs = [target.output for target in self.targets]
        functions = [losses.loss(output.loss) for output in outputs]
        metrics = [[losses.metric(name) for name in output.metrics] for output in outputs]
        if len(outputs) == 1:
            return {"loss": functions[0], "metrics": metrics[0] or None}
        weights = [output.weight for output in outputs]
        return {"loss": functions, "loss_weights": weights, "metrics": metrics if any(metrics) else None}

    def curves(self) -> tuple[dict, str]:
        """What `callbacks.draw_curves` draws: {title: (column of train, of valid, baseline)}, and the unit."""
        shown = [target for target in self.targets if target.is_level] or self.targets

        def column(target: Target) -> str:
            return f"{target.output.name}_loss" if len(self.targets) > 1 else "loss"

        lines = {
            t.output.level or "loss": (column(t), f"val_{column(t)}", t.baseline if t.is_level else None) for t in shown
        }
        return lines, f"mean absolute error ({self.config.label_unit})" if shown[0].is_level else "loss"
