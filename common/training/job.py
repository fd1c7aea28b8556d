"""What is trained: a model with its settings, data and files, as Keras needs them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common.models import losses, weight_files
from common.models.backbones import build_network
from common.models.registry import ModelSpec, Output
from common.training.config import TrainingConfig, TrainingFiles
from common.training.targets import Target

EXACT = "exact_loss"  # the mean over images, until it takes the place of Keras's mean over batches


class Learner(keras.Model):
    """A network that learns `outputs`, and logs losses and metrics that are means over images, whatever the batches.

    Keras averages the loss of each of several outputs over batches instead, and counts images of weight 0 as well.
    """

    def set_up(self, optimizer: Any, outputs: Sequence[Output]) -> None:
        """Compile it for `outputs`, in the network's order."""
        several = len(outputs) > 1
        self.loss_weights = {
            f"{output.name}_" if several else "": output.weight if several else 1.0 for output in outputs
        }
        functions = [losses.loss(output.loss) for output in outputs]
        metrics = [[losses.image_mean(o.loss, EXACT), *map(losses.metric, o.metrics)] for o in outputs]
        weights = list(self.loss_weights.values())
        several_outputs = {"loss": functions, "loss_weights": weights, "weighted_metrics": metrics}
        one_output = {"loss": functions[0], "weighted_metrics": metrics[0]}
        self.compile(optimizer, **(several_outputs if several else one_output))

    def settle(self) -> None:
        """Normalize by the moving statistics, which stay as they are, from now on; scales and offsets learn on."""
        for layer in self.layers:
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
                layer.trainable = False
                for variable in (layer.gamma, layer.beta):
                    if variable is not None:
                        variable.trainable = True
        self.make_train_function(force=True)  # the one before has the statistics of batches

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Count an image once, or not at all where it only fills a batch: the weights of Batches suit the gradient."""
        if sample_weight is not None:
            sample_weight = keras.ops.cast(sample_weight > 0, "float32")
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_metrics_result(self) -> dict[str, Any]:
        """Replace Keras's means of the losses, and their sum, by the exact ones."""
        results = super().get_metrics_result()
        exact = {prefix: results.pop(f"{prefix}{EXACT}") for prefix in self.loss_weights}
        results.update({f"{prefix}loss": mean for prefix, mean in exact.items()})
        results["loss"] = sum(weight * exact[prefix] for prefix, weight in self.loss_weights.items())
        return results


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
        if config.start_from:  # last: it has learned these biases
            weight_files.load(model, config.start_from)
        if spec.build_auxiliary is None or len(model.outputs) == len(declared):
            return model, model
        return keras.Model(model.input, [*model.outputs, *spec.build_auxiliary(model)]), model

    def optimizer(self) -> keras.optimizers.Optimizer:
        """Adam as the settings want it, freshly made."""
        config = self.config
        rate: Any = config.learning_rate
        if config.decay == "cosine":
            batches_of_all = -(-len(self.images["train"]) // config.batch_size) * config.epochs
            rate = keras.optimizers.schedules.CosineDecay(rate, batches_of_all)
        steps = config.accumulate if config.accumulate > 1 else None
        return keras.optimizers.Adam(rate, weight_decay=config.weight_decay or None, gradient_accumulation_steps=steps)

    def curves(self) -> tuple[dict, str]:
        """What `callbacks.draw_curves` draws: {title: (column of train, of valid, baseline)}, and the unit."""
        shown = [target for target in self.targets if target.is_level] or self.targets

        def column(target: Target) -> str:
            return f"{target.output.name}_loss" if len(self.targets) > 1 else "loss"

        lines = {
            t.output.level or "loss": (column(t), f"val_{column(t)}", t.baseline if t.is_level else None) for t in shown
        }
        return lines, f"mean absolute error ({self.config.label_unit})" if shown[0].is_level else "loss"
