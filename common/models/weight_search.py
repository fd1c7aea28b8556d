"""Which file has a model's weights, where a path names one or a folder of them.

A file counts as the one whose name it has; a safetensors file, as the one that it says it is; an exported network, as
the weights that it was exported from, where these are not there.
"""

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.core.environment import PRETRAINED
from common.core.errors import UserError
from common.core.messages import warn
from common.core.names import PART
from common.models import exported
from common.models.registry import LEVELS, ModelSpec, get_model


@dataclass(frozen=True, kw_only=True)
class WeightsConfig:
    """Which weights of a model: the file, or a folder that holds it; the level, "JND1" to "JND3", or None for all.

    An exported network counts as weights where these only predict.
    """

    model_weights_path: Path = PRETRAINED
    level: str | None = None


def find_files(folder: Path) -> list[Path]:
    """Return the weight files and exported networks in and below a folder, sorted, but those that are being written.

    Raises UserError where it is no folder.
    """
    if not folder.is_dir():
        what = "a file" if folder.exists() else "no such folder"
        raise UserError(f"{folder}: {what}; expected the folder that holds the weight files (.h5)")
    files = [path for path in folder.rglob("*") if path.suffix in (".h5", ".safetensors") or exported.format_of(path)]
    names = {path: path.relative_to(folder).parts for path in files if path.is_file()}
    return sorted(path for path in names if not any(part.startswith(PART) for part in names[path]))


def find_weights(spec: ModelSpec, level: str | None, path: str | Path) -> dict[str | None, Path]:
    """Find the weight files of a model: {level, or None for all levels at once: file}.

    Args:
        level: "JND1" to "JND3"; None for all that lie at `path`.
        path: A weight file, an exported network, or a folder to search; one that holds weight files too gives these.

    Raises:
        UserError: As `find`, and where a file does not tell its level, or is another model's network.
    """
    path = Path(path)
    weights, networks = _names(path)
    if level or not spec.needs_level:
        levels = [level if spec.needs_level else None]
    elif path.is_file():
        levels = [_level_of(path)]
    else:
        levels = [one for one in LEVELS if {*spec.weight_names(one)} & {*weights.values()}]
        levels = levels or [one for one in LEVELS if spec.released_name(one) in networks.values()]
    files = {}
    for one in levels or LEVELS[:1]:  # where none is there, it is said what is expected for the first
        names = spec.weight_names(one)
        exports = {file: name for file, name in networks.items() if name == names[0]}
        files[one] = _choose(path, weights if {*names} & {*weights.values()} else exports or weights, names, spec.name)
        if exported.format_of(files[one]):
            exported.check(files[one], spec, one)
        else:
            _check(files[one], names, spec.name, spec.input.shape[:2])
    if len({file.parent for file in files.values()}) > 1:  # perhaps of trainings that were a comparison
        listed = ", ".join(f"{one} from {file.relative_to(path).parent}" for one, file in files.items())
        warn(f"warning: {path}: levels of several folders: {listed}; if these do not belong together, give one file")
    return files


def find(path: str | Path, names: Sequence[str], owner: str) -> Path:
    """Find the weight file at `path`: the file itself, or the one with one of `names` in or below the folder `path`.

    Args:
        owner: Whose weights these are, for the messages.

    Raises:
        UserError: There is none, or more than one, or the file is damaged or no weight file, or named for another JND
            level: the files of the levels are alike inside.
    """
    file = _choose(Path(path), _names(Path(path))[0], names, owner)
    _check(file, names, owner)
    return file


def described_model(path: str | Path) -> tuple[ModelSpec, Path]:
    """Return the model that weights say they are of, and their file; `path` is the file or a folder that holds it.

    Raises UserError where there is not one such file, or the model is none that predicts levels here.
    """
    file = Path(path)
    if file.is_dir() and not (file := _only_tensors(_names(file)[0])):
        raise UserError(f"{path}: expected one .safetensors file in or below this folder; give it, or name the model")
    about = inspect(file).about
    if not about:
        raise UserError(f"{file}: does not say which model it is; name the model, and give this as its weights")
    try:
        spec = get_model(about["model"])
    except ValueError:
        raise UserError(f"{file}: weights of {about['model']}, which is no model here that predicts levels") from None
    return spec if spec.input.shape[:2] == about["input_size"] else spec.resized(*about["input_size"]), file


def level_names(spec: ModelSpec, files: Iterable[str | None]) -> tuple[str, ...]:
    """Return the levels that the files of `find_weights` predict: ("JND1", ...)."""
    return tuple(name for level in files for name in spec.levels(level).values())


def level_in_name(path: Path) -> str:
    """Return the level that the name of a file tells; raise UserError where it tells none."""
    match = re.search("JND[123]", path.name)
    if not match:
        raise UserError(f"{path}: the name does not tell the level; add --jnd_value JND1, JND2 or JND3")
    return match[0]


def inspect(file: Path) -> Any:
    """Return what is in a weight file, as `weight_files.inspect`; raise UserError where h5py is not installed."""
    return _weight_files().inspect(file)


def load(network: Any, file: Path, owner: str) -> None:
    """Give `network` the weights of `file`, as `weight_files.load`."""
    _weight_files().load(network, file, owner)


def _weight_files() -> Any:
    try:
        from common.models import weight_files  # it imports h5py, for which --help does not wait
    except ModuleNotFoundError as error:
        needs = f"weight files (.h5) need {error.name}: pip install -r requirements.txt"
        raise UserError(f"{needs}; or give a network that `export` wrote") from None
    return weight_files


def _level_of(file: Path) -> str:
    """The level of a file of a model with a file for each level."""
    if exported.format_of(file):
        return next(iter(exported.describe(file)["outputs"]))
    about = inspect(file).about
    return about["level"] or LEVELS[0] if about else level_in_name(file)


def _names(folder: Path) -> tuple[dict[Path, str], dict[Path, str]]:
    """Weight files, and exported networks, in or below a folder: {file: name of the weight file that it counts as}."""
    weights, networks = {}, {}
    for file in find_files(folder) if folder.is_dir() else []:
        if exported.format_of(file):
            networks[file] = file.with_suffix(".h5").name
        elif file.suffix == ".h5":
            weights[file] = file.name
        else:
            weights[file] = ""
            with contextlib.suppress(UserError):  # damaged, or a stranger's
                weights[file] = inspect(file).about.get("file", "")
    return weights, networks


def _only_tensors(weights: Iterable[Path]) -> Path | None:
    """The only safetensors file; None where there is none, or there are more."""
    files = [file for file in weights if file.suffix == ".safetensors"]
    return files[0] if len(files) == 1 else None


def _choose(path: Path, files: Mapping[Path, str], names: Sequence[str], owner: str) -> Path:
    """Return the file `path`, or the one of `files`, those in this folder, that counts as one of `names`."""
    expected = f"{owner}'s weights, {' or '.join(names)}"
    if any(name.startswith("BestModel") for name in names):
        expected += " (the name that train gives)"
    if path.is_file():
        own, wanted = (re.search("JND[123]", name) for name in (path.name, names[0]))
        if own and wanted and own[0] != wanted[0]:
            raise UserError(f"{path}: named for {own[0]}, expected {wanted[0]}; give that file, or rename this one")
        return path
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder; expected {expected}, or a folder that holds it")
    matches = [file for file, name in files.items() if name in names]
    others = sorted({file.name for file in files if file.suffix == ".h5"})
    if not matches and not others and (file := _only_tensors(files)):
        return file  # so that it is said what is wrong with it
    if not matches:
        if path.resolve() == PRETRAINED:
            expected += "; python3 -m common.weights fetch downloads the released files"
        present = f"only {', '.join(others[:6])}{' ...' if len(others) > 6 else ''}" if others else "no .h5 file"
        raise UserError(f"{path}: {present} in or below this folder; expected {expected}")
    if len(matches) > 1:
        listed = ", ".join(str(match.relative_to(path)) for match in matches)
        raise UserError(f"{path}: {len(matches)} files here could be {owner}'s weights: {listed}; give one of them")
    return matches[0]


def _check(file: Path, names: Sequence[str], owner: str, input_size: tuple[int, int] | None = None) -> None:
    """Raise UserError where a weight file is damaged, or says that it is another one than one of `names`."""
    about = inspect(file).about
    if about and about["file"] not in names:
        holds = " ".join(filter(None, (about["model"], about["level"])))
        expected = next((name for name in names if name.endswith(".h5")), names[0])
        raise UserError(f"{file}: holds {holds}'s weights, {about['file']}; expected {owner}'s, {expected}")
    if about and input_size and about["input_size"] != input_size:
        sizes = ["{1}x{0}".format(*size) for size in (about["input_size"], input_size)]
        raise UserError(f"{file}: for images of {sizes[0]}, expected {sizes[1]}; --input_size H W gives another size")
