"""`train` and `test` as every script runs them, whichever model it holds."""

from pathlib import Path

from common.core.files import file_in
from common.core.keras_backend import load_keras
from common.data import dataset
from common.data.dataset import load_splits
from common.data.levels import describe_baseline, median_baseline
from common.models.build import build, find_backbones
from common.training import devices
from common.training.runs import check_outputs


def train(variant, options):
    """Train `variant` on a rootdir, keep the weights of the epoch that is best on valid, say how good it is."""
    level, outputs = options.level, variant.level_outputs(options.level)
    checkpoint = file_in(options.checkpoint_path, variant.checkpoint_name(level))
    # Two checkpoints of names of their own may lie in one folder: so may what lies beside them.
    label = variant.label(level) if checkpoint.name == variant.checkpoint_name(level) else f"_{checkpoint.stem}"
    log = file_in(options.csv_log_path, variant.log_name(level))
    check_outputs(options, checkpoint, log, checkpoint.with_name(f"state{label}.npz"))
    backbone_files = find_backbones(variant, options)
    for file in backbone_files:
        print(f"stands on {file}")
    splits = load_splits(options.data_dir, ("train", "valid"), unit=options.label_unit)
    labels = {name: [split.labels[:, n - 1 : n] for n in outputs.values()] for name, split in splits.items()}
    targets = {name: list(columns) for name, columns in labels.items()}
    if variant.image_output:
        for name, split in splits.items():
            targets[name].insert(0, dataset.match_images(split, Path(options.data_dir) / f"jnd{level}{name}"))
    if variant.attention:
        maps, computed = read_maps(splits, variant, options.data_dir)
        for name in splits:
            targets[name].append(maps[name])

    load_keras(training=True, cpus=devices.logical_cpus(options.devices))
    import keras

    from common.models import keras_metrics
    from common.training.loop import Training, fit

    def build_learner():
        model = build(variant, level, backbone_files, options.vgg_weights if variant.vgg else "none")
        if options.output_bias == "mean":
            # A ReLU unit that starts below zero never learns.
            for name, column in zip(outputs, labels["train"]):
                model.get_layer(name).bias.assign(column.mean(axis=0))
        if not variant.attention:
            return model, model
        from common.models.attention_decoder import build_attention_decoder

        levels = [model.get_layer(name).output for name in outputs]
        return keras.Model(model.input, [*levels, build_attention_decoder(model)]), model

    def compile_with():
        losses, shares, measured = ["mae"] * len(outputs), [1.0] * len(outputs), [[]] * len(outputs)
        if variant.image_output:
            losses = ["mse", *losses]
            shares = [variant.image_loss_weight, 1 - variant.image_loss_weight]
            measured = [[*keras_metrics.image_metrics(), "mae"], *measured]
        if variant.attention:
            from common.models import attention_decoder

            losses, shares = [*losses, attention_decoder.kl_divergence], [*shares, options.attention_weight]
            measured = [*measured, attention_decoder.attention_metrics()]
        if len(losses) == 1:
            return {"loss": losses[0]}
        return {"loss": losses, "loss_weights": shares, "metrics": measured if any(measured) else None}

    columns = (
        {name: f"{name}_loss" for name in outputs} if len(targets["train"]) > 1 else dict.fromkeys(outputs, "loss")
    )
    floors = [median_baseline(*(labels[split][n].ravel() for split in labels)) for n in range(len(outputs))]
    best = fit(
        Training(
            variant.name,
            build_learner,
            compile_with,
            {name: split.images for name, split in splits.items()},
            targets,
            variant.input,
            checkpoint,
            log,
            label,
            {f"JND{n}": (columns[o], f"val_{columns[o]}", floor) for (o, n), floor in zip(outputs.items(), floors)},
            f"mean absolute error ({options.label_unit})",
            dict(zip(outputs, labels["valid"])),
        ),
        options,
    )
    print(f"best epoch {best.epoch} of {options.epochs}:")
    for (output, number), floor in zip(outputs.items(), floors):
        error = best.logs[f"val_{columns[output]}"]
        print(
            f"JND{number}: error on valid {error:.2f} {options.label_unit}; {describe_baseline(floor, options.label_unit)}"
        )
    if variant.attention:
        quality = ", ".join(f"{name} {best.logs[f'val_VA_output_{name}']:.3f}" for name in ("CC", "KLD", "SIM"))
        print(f"attention map on valid, {computed['valid']} of {len(splits['valid'])} maps computed: {quality}")
    print(f"weights: {checkpoint}\nlog: {log}")
    return 0


def read_maps(splits, variant, data_dir):
    """The attention maps of each split, (N, H, W, 1), and how many of them are computed, not measured gaze."""
    from common.data import attention_maps

    size = variant.input.height // 8, variant.input.width // 8  # what common.models.attention_decoder's tail gives
    found = {name: attention_maps.read_maps(split, data_dir, size) for name, split in splits.items()}
    return {name: maps for name, (maps, _) in found.items()}, {name: computed for name, (_, computed) in found.items()}
