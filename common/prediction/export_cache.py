"""Weights exported once for another runtime, and kept: `--backend onnxruntime|openvino` with an .h5 file.

An entry is a folder with one exported network, whole or absent, named by a digest of the weights and of the code that
exports them.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from common.core.environment import PROJECT
from common.core.errors import UserError
from common.core.files import megabytes, sha256
from common.core.messages import warn
from common.core.names import PART
from common.core.processes import run_python
from common.models.exported import FORMATS
from common.models.registry import ModelSpec

ROOM = 3 << 30  # bytes: all models of the papers with all levels take 1.4 GB


def folder() -> Path:
    """Return the folder of the cache: $XDG_CACHE_HOME/jnd-levels, by default ~/.cache/jnd-levels."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jnd-levels"


def find(spec: ModelSpec, level: str | None, weights: Path, format_name: str) -> Path:
    """Return the exported network of a weight file; export it first, in a process of its own, where it is not there.

    Those that were not used for the longest time make room for it.  Raises UserError where it cannot be exported.
    """
    name = Path(spec.released_name(level)).with_suffix(FORMATS[format_name].suffix).name
    entry = folder() / _key(spec, level, weights, format_name)
    if not (entry / name).is_file():
        warn(f"exporting {weights} for {format_name}, once; kept in {entry.parent}")
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=PART, dir=entry.parent) as part:
            made = Path(part, entry.name)
            _export(spec, level, weights, format_name, made / name)
            try:
                os.rename(made, entry)
            except OSError:
                if not (entry / name).is_file():  # else another process was faster
                    raise
        _make_room(entry)
    with contextlib.suppress(OSError):  # a cache that others share may be read-only
        os.utime(entry)
    return entry / name


def _make_room(newest: Path) -> None:
    """Remove what was used the longest ago until the others and the newest entry take at most ROOM bytes."""
    taken = 0
    for entry in sorted(_entries(), key=lambda entry: (entry == newest, entry.stat().st_mtime), reverse=True):
        taken += _size(entry)
        if taken > ROOM and entry != newest:
            shutil.rmtree(entry, ignore_errors=True)


def _entries() -> list[Path]:
    return [entry for entry in folder().glob("*") if entry.is_dir() and not entry.name.startswith(PART)]


def _size(entry: Path) -> int:
    return sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())


def _key(spec: ModelSpec, level: str | None, weights: Path, format_name: str) -> str:
    """What the exported network depends on, as a name."""
    code = [Path(spec.script), *sorted(PROJECT.glob("common/models/*.py")), PROJECT / "common/media/images.py"]
    code += [PROJECT / "common/prediction" / name for name in ("export.py", "converters.py")]
    digest = hashlib.sha256("".join(map(sha256, [weights, *code])).encode())
    makers = ["tensorflow", "keras", *(module for module, _ in FORMATS[format_name].needs)]
    digest.update(f"{spec.name} {level} {spec.input.shape} {format_name} {[*map(package_version, makers)]}".encode())
    return digest.hexdigest()[:32]


def package_version(package: str) -> str:
    """Return the version of a package; "" where it is not installed, or does not say."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _export(spec: ModelSpec, level: str | None, weights: Path, format_name: str, target: Path) -> None:
    command = [spec.script, "export", "--format", format_name, "--output", target, *spec.flags(level)]
    command += ["--model_weights_path", weights.absolute(), "--input_size", spec.input.height, spec.input.width]
    env = os.environ | {"KERAS_BACKEND": "tensorflow", "PYTHONPATH": str(PROJECT)}
    with tempfile.TemporaryFile() as said:
        code = run_python(*command, env=env, stdout=subprocess.DEVNULL, stderr=said)
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines() or ["no message"]
    if code:
        raise UserError(f"{weights}: cannot be exported for {format_name}: {lines[-1].removeprefix('error: ')}")


def describe(*, clear: bool = False) -> str:
    """Return a line about the cache for a person; clear: empty it."""
    entries = _entries()
    size = sum(map(_size, entries))
    suffixes = {form.suffix for form in FORMATS.values()}
    networks = [file.name for entry in entries for file in sorted(entry.glob("*")) if file.suffix in suffixes]
    if clear:
        for entry in entries:
            shutil.rmtree(entry)
    listed = f": {', '.join(sorted(networks))}" if networks else ""
    return f"{folder()}: {len(networks)} exported networks, {megabytes(size)}{' removed' if clear else ''}{listed}"
