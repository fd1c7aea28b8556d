"""Training a model on a rootdir, from a script or from Python.

>>> from common import train
>>> best = train("LAT", level="JND1", data_dir="ROOT/", checkpoint_path="C/", backbone_weights="R/", epochs=50)
>>> best.epoch, best.loss                                  # of the epoch whose weights C/BestModelJND1.h5 holds
(41, 1.37)
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from common.core.keras_backend import load_keras
from common.core.messages import note
from common.core.threads import keep_freed_memory
from common.data.dataset import load_splits
from common.data.levels import describe_baseline
from common.models import weight_search
from common.models.registry import LEVELS, ModelSpec, get_model
from common.training import devices
from common.training.config import TrainingConfig, TrainingFiles
from common.training.runs import Best, check_outputs
from common.training.targets import Target, read_targets


def train(model: str | ModelSpec, config: TrainingConfig | None = None, **settings: Any) -> Best:
    """Train a model, keep the weights of the epoch that is best on valid, and print how good it is.

    Args:
        model: its name, such as "LAT", or a ModelSpec.
        config: the settings; or give the fields of TrainingConfig by name.

    Raises:
        UserError: one line for a person, before anything is written where that can be known: data, weights or settings
            that do not fit, a training that went wrong for good.
    """
    spec, config = model if isinstance(model, ModelSpec) else get_model(model), config or TrainingConfig(**settings)
    if spec.needs_level and config.level is None:
        raise ValueError(f"{spec.name} is trained for one level; give level JND1, JND2 or JND3")
    if config.input_size:
        spec = spec.resized(*config.input_size)
    paper = spec.defaults
    config = replace(
        config,
        epochs=config.epochs or paper.epochs,
        batch_size=config.batch_size or paper.batch_size,
        learning_rate=config.learning_rate or paper.learning_rate,
    )
    files = TrainingFiles.of(spec, config)
    check_outputs(config, files)
    backbone_weights = []
    if config.start_from:
        start = Path(config.start_from)
        # A file may be another level's.
        of_any_level = [start.name, *map(spec.released_name, LEVELS), *spec.start_files]
        names = spec.weight_names(config.level) if start.is_dir() else of_any_level
        start = weight_search.find(start, names, spec.name)
        config = replace(config, start_from=start)
        note(f"starts from: {start}")
    elif spec.backbone:
        backbone_weights = spec.backbone.find(config.backbone_weights, config.level, spec.name)
    for source in backbone_weights:
        note(f"backbone: {source}")
    outputs = [
        replace(output, weight=config.attention_weight) if output.target == "attention map" else output
        for output in spec.at(config.level)
    ]
    if not config.attention_weight:
        outputs = [output for output in outputs if output.target != "attention map"]
    labels = "required" if any(output.target == "label" for output in outputs) else "ignored"
    splits = load_splits(config.data_dir, ("train", "valid"), labels=labels, unit=config.label_unit)
    targets = read_targets(outputs, splits, Path(config.data_dir), spec.input)

    keep_freed_memory(large=True)
    load_keras(training=True, cpus=devices.logical_cpus(config.devices))
    from common.training.job import Training
    from common.training.loop import fit

    images = {name: split.images for name, split in splits.items()}
    best = fit(Training(spec, config, files, images, targets, backbone_weights))
    print(f"best epoch {best.epoch} of {config.epochs}:")
    for target in targets:
        print(describe(target, best, config, len(targets) > 1))
    print(f"weights: {files.checkpoint}\nlog: {files.log}")
    return best


def describe(target: Target, best: Best, config: TrainingConfig, several: bool) -> str:
    """How good an output was on valid in the best epoch, for a person.  several: whether the network has other ones."""
    output, prefix = target.output, f"val_{target.output.name}_" if several else "val_"
    if target.is_level:
        error = f"{output.level}: error on valid {best.logs[f'{prefix}loss']:.2f} {config.label_unit}"
        return f"{error}; {describe_baseline(target.baseline, config.label_unit)}"
    known = [str(name) for name in output.metrics if f"{prefix}{name}" in best.logs]
    units = {"psnr": " dB"}
    metrics = ", ".join(f"{name.upper()} {best.logs[prefix + name]:.4g}{units.get(name, '')}" for name in known)
    where = "valid patches" if config.patch else "valid"
    return f"{output.target} on {where}{f', {target.note}' if target.note else ''}: {metrics}"
