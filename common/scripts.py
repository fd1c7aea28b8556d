"""`train` and `test` as every script runs them, whichever model it holds."""

from pathlib import Path

from common import dataset, devices, images, weights
from common.errors import UserError
from common.export import export  # noqa: F401, a command as those below
from common.files import write_csv
from common.predict import predict  # noqa: F401, a command as those below
from common.programs import check_outputs, check_target, load_keras, read_splits


def train(variant, options):
    """Train `variant` on a rootdir, keep the weights of the epoch that is best on valid, say how good it is."""
    level, outputs = options.level, variant.outputs(options.level)
    checkpoint = named(options.checkpoint_path, variant.checkpoint_name(level))
    # Two checkpoints of names of their own may lie in one folder: so may what lies beside them.
    label = variant.label(level) if checkpoint.name == variant.checkpoint_name(level) else f"_{checkpoint.stem}"
    log = named(options.csv_log_path, variant.log_name(level))
    check_outputs(options, checkpoint, log, checkpoint.with_name(f"state{label}.npz"))
    backbone_files = find_backbones(variant, options)
    for file in backbone_files:
        print(f"stands on {file}")
    splits = read_splits(options.data_dir, ("train", "valid"), scale=options.label_unit)
    labels = {name: [split.levels[:, n - 1 : n] for n in outputs.values()] for name, split in splits.items()}
    targets = {name: list(columns) for name, columns in labels.items()}
    if variant.image_output:
        for name, split in splits.items():
            targets[name].insert(0, dataset.pair(split, Path(options.data_dir) / f"jnd{level}{name}"))
    if variant.attention:
        maps, computed = read_maps(splits, variant, options.data_dir)
        for name in splits:
            targets[name].append(maps[name])

    load_keras(training=True, cpus=devices.logical_cpus(options.devices))
    import keras

    from common import metrics
    from common.training import Training, fit

    def build_learner():
        model = build(variant, level, backbone_files, options.vgg_weights if variant.vgg else "none")
        if options.output_bias == "mean":
            # A ReLU unit that starts below zero never learns.
            for name, column in zip(outputs, labels["train"]):
                model.get_layer(name).bias.assign(column.mean(axis=0))
        if not variant.attention:
            return model, model
        from common.attention_map import attention_tail

        levels = [model.get_layer(name).output for name in outputs]
        return keras.Model(model.input, [*levels, attention_tail(model)]), model

    def compile_with():
        losses, shares, measured = ["mae"] * len(outputs), [1.0] * len(outputs), [[]] * len(outputs)
        if variant.image_output:
            losses = ["mse", *losses]
            shares = [variant.image_loss_weight, 1 - variant.image_loss_weight]
            measured = [[*metrics.image_metrics(), "mae"], *measured]
        if variant.attention:
            from common import attention_map

            losses, shares = [*losses, attention_map.kl_divergence], [*shares, options.attention_weight]
            measured = [*measured, attention_map.attention_metrics()]
        if len(losses) == 1:
            return {"loss": losses[0]}
        return {"loss": losses, "loss_weights": shares, "metrics": measured if any(measured) else None}

    columns = (
        {name: f"{name}_loss" for name in outputs} if len(targets["train"]) > 1 else dict.fromkeys(outputs, "loss")
    )
    floors = [metrics.median_floor(*(labels[split][n].ravel() for split in labels)) for n in range(len(outputs))]
    best = fit(
        Training(
            variant.name,
            build_learner,
            compile_with,
            {name: split.pictures for name, split in splits.items()},
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
        print(f"JND{number}: error on valid {error:.2f} {options.label_unit}; {beside(floor, options)}")
    if variant.attention:
        quality = ", ".join(f"{name} {best.logs[f'val_VA_output_{name}']:.3f}" for name in ("CC", "KLD", "SIM"))
        print(f"attention map on valid, {computed['valid']} of {len(splits['valid'])} maps computed: {quality}")
    print(f"weights: {checkpoint}\nlog: {log}")
    return 0


def read_maps(splits, variant, data_dir):
    """The attention maps of each split, (N, H, W, 1), and how many of them are computed, not measured gaze."""
    from common import map_files

    size = variant.input.height // 8, variant.input.width // 8  # what common.attention_map's tail gives
    found = {name: map_files.read_maps(split, data_dir, size) for name, split in splits.items()}
    return {name: maps for name, (maps, _) in found.items()}, {name: computed for name, (_, computed) in found.items()}


def test(variant, options):
    """Write the levels that `variant` predicts for a rootdir's test pictures, and its error where they have labels."""
    level, outputs, root = options.level, variant.outputs(options.level), Path(options.data_dir)
    how = {"labels": "optional", "scale": options.label_unit}
    split = read_splits(root, ("test",), decode=False, **how)["test"]
    file = weights.find(options.model_weights_path, variant.weight_names(level), variant.name)
    backbone_files = find_backbones(variant, options)
    frames = None
    if variant.image_output and (root / f"jnd{level}test").is_dir():
        frames = dataset.pair(split, root / f"jnd{level}test")
    result = named(options.result_path, variant.result_name(level))
    check_target(result)
    answers, quality = [], []
    with images.read_ahead(variant.input.load, split.pictures) as pictures:  # decoding starts while Keras does
        load_keras()
        from common.batches import predict
        from common.inference import for_prediction

        model = build(variant, level, backbone_files)
        weights.load(model, file)
        wanted = [*outputs, variant.image_output] if frames else list(outputs)
        network = for_prediction(model, wanted, options.precision)
        try:
            for index, answer in enumerate(predict(network, pictures, options.batch_size, len(split), variant.name)):
                answers.append([float(value[0]) for value in answer[: len(outputs)]])
                if frames:
                    quality.append(compare(variant.input, answer[-1], frames[index]))
        except UserError:
            # One picture is bad: before giving up, look at all of them, so that all can be mended at once.
            read_splits(root, ("test",), **how)
            raise
    write_results(result, split, outputs.values(), answers)
    print(f"{len(split)} pictures of {split.folder}, weights {file}")
    if quality:
        psnr, ssim = (sum(column) / len(quality) for column in zip(*quality))
        print(f"reconstructed JND{level} frames: PSNR {psnr:.2f} dB, SSIM {ssim:.4f}")
    if split.levels is not None:
        print_errors(split, outputs.values(), answers, options)
    print(f"results: {result}")
    return 0


def named(path, name):
    """The file that `path` names: itself where it has a suffix, else the file `name` in the folder `path`."""
    path = Path(path)
    return path if path.suffix and not path.is_dir() else path / name


def find_backbones(variant, options):
    """The weight files of the autoencoders that `variant` stands on, None each where their path is left out."""
    if variant.vgg or options.backbone_path is None:
        return [None] * len(variant.backbones)
    names = [name.format(level=options.level) for name in variant.backbones]
    return [weights.find(options.backbone_path, [name], f"{variant.name}'s autoencoder") for name in names]


def build(variant, level, backbone_files, vgg_weights="none"):
    """The model of `variant` on its backbones, these with the weights of the files given, or of ImageNet."""
    import keras

    if variant.vgg:
        from common.vgg import build_vgg

        return variant.build(build_vgg(variant.input.shape, vgg_weights), variant.outputs(level))

    from common.autoencoder import build_autoencoder

    backbones, several = [], len(backbone_files) > 1
    picture = keras.Input(variant.input.shape, name="picture")
    for number, file in enumerate(backbone_files, start=1):
        backbones.append(build_autoencoder(picture, prefix=f"jnd{number}_" if several else ""))
        if file is not None:
            weights.load(backbones[-1], file, f"{variant.name}'s autoencoder")
    return variant.build(*backbones)


def compare(input_format, image, frame):
    """PSNR (dB) and SSIM of an image output against the frame in a file."""
    from common import metrics

    reconstructed, target = (input_format.to_picture(pixels) for pixels in (image, input_format.load(frame)))
    return metrics.psnr(target, reconstructed), metrics.ssim(target, reconstructed)


def write_results(path, split, levels, answers):
    """Write the levels of a split's pictures as CSV, a column a level, beside their labels where there are some."""
    import pandas as pd

    columns = [f"JND{level}" for level in levels]
    table = pd.DataFrame(answers, columns=columns)
    table.insert(0, "image", [picture.name for picture in split.pictures])
    if split.levels is not None:
        for level in levels:
            table[f"JND{level}_label"] = split.levels[:, level - 1]
    write_csv(table, path)


def print_errors(split, levels, answers, options):
    """Print each level's mean absolute error, beside that of always answering the training median."""
    import numpy as np

    from common import metrics

    try:
        known = dataset.read_splits(options.data_dir, ("train",), scale=options.label_unit, decode=False)[0]["train"]
    except UserError as missing:
        known, reason = None, str(missing).splitlines()[0]
    for level, column in zip(levels, np.transpose(answers)):
        asked = split.levels[:, level - 1]
        floor = f"no training median: {reason}" if known is None else ""
        if known:
            floor = beside(metrics.median_floor(known.levels[:, level - 1], asked), options)
        print(f"JND{level}: mean absolute error {metrics.qp_mae(column, asked):.2f} {options.label_unit}; {floor}")


def beside(floor, options):
    """What always answering the training median gives, for a person."""
    return f"always answering the training median gives {floor:.2f} {options.label_unit}"
