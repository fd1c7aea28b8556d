"""Weights in other layouts: the released one, Keras's own, safetensors, or a folder for a model hub."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.core import keras_backend
from common.core.environment import PROJECT
from common.core.errors import UserError
from common.core.files import atomic_group, check_writable, megabytes
from common.models import released, weight_files
from common.models.autoencoder import TARGETS, autoencoder_spec
from common.models.backbones import build_network
from common.models.registry import ModelSpec, get_model
from common.models.weight_files import DAMAGE, KERAS_SUFFIX, SAFETENSORS, WeightFile
from common.models.weight_search import level_in_name

AUTOENCODERS = {f"{target}Reconstruction": target for target in TARGETS}
FILE = "model.safetensors"  # of a folder; what model hubs call it
NOT_ON_A_CARD = ("Training data", "Numbers", "Weight files")  # sections of docs/models/ about all weights of a model


def convert(
    source: Path,
    destination: Path,
    *,
    model: str | None = None,
    level: str | None = None,
    input_size: tuple[int, int] | None = None,
    licence: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write weights in another layout, with the same numbers bit for bit, and print what was written.

    Args:
        source: A weight file in any layout, or a folder that this wrote.
        destination: A name ending in .safetensors, .weights.h5 (Keras's own layout) or .h5 (the released one); a name
            without suffix is a folder with a model card, ready for a model hub.
        model: Its name; by default what the source says, or the only one that its shapes fit.
        level: "JND1" to "JND3"; by default what the source says, or its name.
        input_size: (height, width) of the network's input; by default what the source says, or the paper's.
        licence: An identifier such as apache-2.0; by default what the source says, or unknown.
        overwrite: Whether to replace the destination.

    Raises:
        UserError: The source is damaged, or it is not certain which model it is; nothing is written.
    """
    _check_destination(destination, overwrite)
    file = weight_files.inspect(source / FILE if source.is_dir() else source, any_layout=True)
    said = file.about
    spec, level = _identify(file, model, level)
    height, width = input_size or said.get("input_size") or spec.input.shape[:2]
    try:
        spec = spec if spec.input.shape[:2] == (height, width) else spec.resized(height, width)
    except ValueError as error:
        raise UserError(f"--input_size {height} {width}: {error}") from None

    keras_backend.load_keras()
    network = build_network(spec)
    if file.is_keras:
        _load_keras(network, file)
    else:
        weight_files.load(network, file.path)
    about = {
        "model": spec.name,
        "level": level,
        "input_size": spec.input.shape[:2],
        "file": spec.released_name(level),
        "license": licence or said.get("license", "unknown"),
        "sha256": weight_files.digest(weight_files.weights_of(network)),
    }
    if destination.suffix:
        weight_files.save(network, destination, file.note, about)
    else:
        with atomic_group(destination) as temporary:
            folder = temporary / destination.name
            weight_files.save(network, folder / FILE, file.note, about)
            config = {**about, "parameters": network.count_params()}
            (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
            (folder / "README.md").write_text(_card(spec, config, file.note), "utf-8")
    names = " ".join(filter(None, (spec.name, level)))
    files = [destination, *destination.rglob("*")]
    size = megabytes(sum(file.stat().st_size for file in files if file.is_file()))
    licensed = "" if about["license"] != "unknown" else "; --license says under which terms others may use it"
    print(
        f"{destination}: {names}, {network.count_params():,} parameters, {size}, licence {about['license']}{licensed}"
    )


def _check_destination(destination: Path, overwrite: bool) -> None:
    if destination.suffix not in ("", ".h5", SAFETENSORS):
        expected = "a name that ends in .h5, .weights.h5 or .safetensors, or has no suffix for a folder"
        raise UserError(f"{destination}: expected {expected}")
    if destination.exists() and not overwrite:
        raise UserError(f"{destination}: exists; give another name, or --overwrite to replace it")
    if destination.is_dir() and not (destination / FILE).is_file():
        raise UserError(f"{destination}: a folder that `convert` did not write; give another name")
    check_writable(destination if destination.suffix else destination / FILE)


def _load_keras(network: Any, file: WeightFile) -> None:
    """Give a network the weights of a file in Keras's own layout.

    Raises:
        UserError: The file is for another network, which may have changed this one.
    """
    ((_, shapes),), another = file.shapes, "is this a file for another model?"
    expected = [tuple(weight.shape) for weight in network.weights]
    if sorted(shapes) != sorted(expected):
        what = f"holds {len(shapes)} arrays, {network.name} expects {len(expected)}, each of its shape"
        raise UserError(f"{file.path}: {what}; {another}")
    if not file.path.name.endswith(KERAS_SUFFIX):
        raise UserError(f"{file.path}: Keras reads its own layout by the name only; rename it to end in {KERAS_SUFFIX}")
    try:
        network.load_weights(file.path)
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file.path}: does not fit {network.name} ({reason}); {another}") from None
    arrays = [(layer.name, layer.get_weights()) for layer in network.layers]
    weight_files.check_numbers(file.path, arrays, file.about)


def _identify(file: WeightFile, model: str | None, level: str | None) -> tuple[ModelSpec, str | None]:
    """Return the model and level of a weight file, from what it says, what was given, its shapes and its name."""
    source, said = file.path, file.about
    for flag, given, own in (("--model", model, said.get("model")), ("--jnd_value", level, said.get("level"))):
        if said and given and given != own:
            raise UserError(f"{source}: says that it is {said['model']} {said['level'] or ''}, not {flag} {given}")
    name = model or said.get("model") or _model_by_shapes(file)
    try:
        spec = autoencoder_spec(AUTOENCODERS[name]) if name in AUTOENCODERS else get_model(name)
    except ValueError as error:
        raise UserError(f"{source}: {error}, {', '.join(AUTOENCODERS)}") from None
    if not spec.needs_level:
        if level:
            raise UserError(f"--jnd_value {level}: {spec.name} has no file for a level; leave it out")
        return spec, None
    named = re.search("JND[123]", source.name)
    if level and named and named[0] != level:
        raise UserError(
            f"{source}: named for {named[0]}, not --jnd_value {level}; rename the file, or leave the flag out"
        )
    return spec, level or said.get("level") or level_in_name(source)


def _model_by_shapes(file: WeightFile) -> str:
    source = file.path
    if file.is_keras:
        raise UserError(f"{source}: Keras's own layout does not tell the model; add --model, such as --model LAT")
    network = released.identify(file)
    if network is released.AUTOENCODER:
        if source.stem in AUTOENCODERS:
            return source.stem
        raise UserError(
            f"{source}: an autoencoder, the name does not tell which; add --model {' or '.join(AUTOENCODERS)}"
        )
    models = released.models_of(network)
    if len(models) > 1:
        raise UserError(f"{source}: {' or '.join(models)}, whose shapes are the same; add --model")
    return models[0]


def _card(spec: ModelSpec, config: Mapping[str, Any], note: str) -> str:
    """Return the model card of a folder, Markdown with the front matter of model hubs."""
    names, here = " ".join(filter(None, (spec.name, config["level"]))), "path/to/this/folder"
    intro, *sections = re.split("^## ", page(spec.name), flags=re.MULTILINE)
    if spec.name in AUTOENCODERS:
        target = AUTOENCODERS[spec.name]
        use = f"python3 -m common.reconstruct test --target {target} --data_dir ROOT --result_path OUT"
    else:
        flags = " ".join(spec.flags(config["level"]))
        use = f"python3 {Path(spec.script).name} predict image.png {flags}".rstrip()
    rows = {
        "model": names,
        "name of the released file": f"`{config['file']}`",
        "input": "{1}x{0}, B, G, R".format(*config["input_size"]) + f", 0 to {255 * spec.input.scale:g}",
        "parameters": f"{config['parameters']:,}",
        "licence": config["license"],
        "SHA-256 of the numbers": f"`{config['sha256']}`",
        **_training(note),
    }
    load = (
        "" if spec.name in AUTOENCODERS else f"\n    from common import load\n    load({here!r})('image.png').levels\n"
    )
    return f"""---
license: {config["license"]}
tags:
- keras
- just-noticeable-difference
- image-quality
- video-coding
---

# {names}

{intro.strip()}

## How to use it

With the project that wrote this card:
{load}
    {use} --model_weights_path {here}

`model.safetensors` has a float32 tensor `LAYER/WEIGHT` for each weight, in Keras's shapes (channels last). Its metadata
repeat `config.json`. `python3 -m common.weights convert` turns it into a Keras weight file.

## These weights

| | |
|---|---|
{chr(10).join(f"| {name} | {value} |" for name, value in rows.items())}

{"".join(f"## {section}" for section in sections if section.partition(chr(10))[0] not in NOT_ON_A_CARD)}"""


def page(name: str) -> str:
    """Return what is below the title of the page in docs/models/ that has `name` in it; its links to pages are text."""
    for page in sorted(PROJECT.glob("docs/models/*.md")):
        title, _, text = page.read_text("utf-8").partition("\n")
        if name in re.findall(r"[\w-]+", title):
            return re.sub(r"\[([^]]+)\]\((?!https?:)[^)]*\)", r"\1", text)
    return ""


def _training(note: str) -> dict[str, str]:
    """What the note of a training says, for a person."""
    try:
        best = json.loads(note)
        return {"best epoch": str(best["epoch"]), "validation loss in it": f"{best['loss']:.4g}"}
    except (LookupError, TypeError, ValueError):
        return {}
