"""Where a model's weights are, in a folder or below it: .h5 files by their name, safetensors by what they say.

What is in a weight file, `weight_files` knows; in an exported network, which counts as weights, `exported`.
"""

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.core.environment import PRETRAINED
from common.core.errors import UserError
from common.core.files import PART
from common.models import exported
from common.models.registry import LEVELS, ModelSpec, get_model


@dataclass(frozen=True, kw_only=True)
class WeightsConfig:
    """Which weights of a model: the file, or a folder that holds it; the level, "JND1" to "JND3", or None for all.

    An exported network counts as weights where these only predict.
    """

    model_weights_path: Path = PRETRAINED
    level: str | None = None


def find_weights(spec: ModelSpec, level: str | None, path: str | Path) -> dict[str | None, Path]:
    """Find the weight files of a model: {level, or None for all levels at once: file}.

    Args:
        level: "JND1" to "JND3"; None for all that lie at `path`.
        path: A weight file, an exported network, or a folder to search; one that holds weight files too gives these.

    Raises:
        UserError: As `find`, and where a file does not tell its level.
    """
    path = Path(path)
    if level or not spec.needs_level:
        level = level if spec.needs_level else None
        return {level: find_network(spec, level, path)}
    if path.is_file() and exported.format_of(path):
        level = next(iter(exported.describe(path)["outputs"]))
        return {level: find_network(spec, level, path)}
    if path.is_file():
        about = _weight_files().describe(path)
        level = about["level"] or LEVELS[0] if about else level_in_name(path)
        return {level: find_network(spec, level, path)}
    for present in (
        [one for one in LEVELS if _matches(path, spec.weight_names(one))],
        [one for one in LEVELS if any(any(path.rglob(name)) for name in exported_names(spec, one))],
    ):
        if present:
            return {one: find_network(spec, one, path) for one in present}
    if file := _only_tensors(path):
        return find_weights(spec, level, file)
    return {LEVELS[0]: find_network(spec, LEVELS[0], path)}


def level_in_name(path: Path) -> str:
    """Return the level that the name of a file tells; raise UserError where it tells none."""
    match = re.search("JND[123]", path.name)
    if not match:
        raise UserError(f"{path}: the name does not tell the level; add --jnd_value JND1, JND2 or JND3")
    return match[0]


def described_model(path: str | Path) -> tuple[ModelSpec, Path]:
    """Return the model that weights say they are of, and their file; `path` is the file or a folder that holds it.

    Raises UserError where there is not one such file, or the model is none that predicts levels here.
    """
    file = Path(path)
    if file.is_dir() and not (file := _only_tensors(file)):
        raise UserError(f"{path}: expected one .safetensors file in or below this folder; give it, or name the model")
    about = _weight_files().describe(file)
    if not about:
        raise UserError(f"{file}: does not say which model it is; name the model, and give this as its weights")
    try:
        spec = get_model(about["model"])
    except ValueError:
        raise UserError(f"{file}: weights of {about['model']}, which is no model here that predicts levels") from None
    return spec if spec.input.shape[:2] == about["input_size"] else spec.resized(*about["input_size"]), file


def find_network(spec: ModelSpec, level: str | None, path: str | Path) -> Path:
    """Find what predicts a level, or None for all at once: a weight file, or where there is none an exported network.

    Raises UserError as `find`, and where the exported network is another model's.
    """
    path, names = Path(path), spec.weight_names(level)
    if path.is_dir() and not _matches(path, names):
        others = exported_names(spec, level)
        names = others if any(any(path.rglob(name)) for name in others) else names
    file = _find(path, names, spec.name)
    if exported.format_of(file):
        exported.check(file, spec, level)
    else:
        _check(file, names, spec.name, spec.input.shape[:2])
    return file


def exported_names(spec: ModelSpec, level: str | None) -> tuple[str, ...]:
    """Return the names that `export` gives to a model's files, of the formats that run without TensorFlow."""
    suffixes = [form.suffix for form in exported.FORMATS.values() if form.runs_on]
    return tuple(Path(spec.released_name(level)).with_suffix(suffix).name for suffix in suffixes)


def level_names(spec: ModelSpec, files: Iterable[str | None]) -> tuple[str, ...]:
    """Return the levels that the files of `find_weights` predict: ("JND1", ...)."""
    return tuple(name for level in files for name in spec.levels(level).values())


def find(path: str | Path, names: Sequence[str], owner: str) -> Path:
    """Find the weight file at `path`: the file itself, or the one with one of `names` in or below the folder `path`.

    Args:
        owner: Whose weights these are, for the messages.

    Raises:
        UserError: There is none, or more than one, or the file is damaged or no weight file, or named for another JND
            level: the files of the levels are alike inside.
    """
    file = _find(Path(path), names, owner)
    _check(file, names, owner)
    return file


def _check(file: Path, names: Sequence[str], owner: str, input_size: tuple[int, int] | None = None) -> None:
    """Raise UserError where a weight file is damaged, or says that it is another one than one of `names`."""
    _weight_files().layout(file)
    about = _weight_files().describe(file)
    if about and about["file"] not in names:
        holds = " ".join(filter(None, (about["model"], about["level"])))
        expected = next((name for name in names if name.endswith(".h5")), names[0])
        raise UserError(f"{file}: holds {holds}'s weights, {about['file']}; expected {owner}'s, {expected}")
    if about and input_size and about["input_size"] != input_size:
        sizes = ["{1}x{0}".format(*size) for size in (about["input_size"], input_size)]
        raise UserError(f"{file}: for images of {sizes[0]}, expected {sizes[1]}; --input_size H W gives another size")


def _matches(folder: Path, names: Sequence[str]) -> list[Path]:
    """The weight files in or below a folder that have one of `names`, or are safetensors that say that they are it."""
    files = sorted(match for name in names for match in folder.rglob(name) if match.is_file())
    for file in _tensors(folder):
        with contextlib.suppress(UserError):  # damaged, or a stranger's
            files += [file] if _weight_files().describe(file).get("file") in names else []
    return files


def _tensors(folder: Path) -> list[Path]:
    """The safetensors files in or below a folder, but those that are being written."""
    files = sorted(file for file in folder.rglob("*.safetensors") if file.is_file())
    return [file for file in files if not any(part.startswith(PART) for part in file.relative_to(folder).parts)]


def _only_tensors(folder: Path) -> Path | None:
    """The only safetensors file in or below a folder; None where there is none, or there are more."""
    files = _tensors(folder) if folder.is_dir() else []
    return files[0] if len(files) == 1 else None


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


def _find(path: Path, names: Sequence[str], owner: str) -> Path:
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
    matches = _matches(path, names)
    others = sorted({other.name for other in path.rglob("*.h5")})
    if not matches and not others and (file := _only_tensors(path)):
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
