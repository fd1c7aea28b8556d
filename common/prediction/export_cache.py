"""Weights exported once for another runtime, and kept: `--backend onnxruntime|openvino` with an .h5 file.

An entry is a folder with one exported network, whole or absent, named by a digest of the weights and of the code that
exports them.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from common.core.environment import PROJECT
from common.core.errors import UserError
from common.core.files import PART, megabytes, sha256
from common.models.exported import FORMATS
from common.models.registry import ModelSpec


def folder() -> Path:
    """Return the folder of the cache: $XDG_CACHE_HOME/jnd-levels, by default ~/.cache/jnd-levels."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jnd-levels"


def find(spec: ModelSpec, level: str | None, weights: Path, format_name: str) -> Path:
    """Return the exported network of a weight file; export it first, in a process of its own, where it is not there.

    Raises UserError where it cannot be exported.
    """
    name = Path(spec.released_name(level)).with_suffix(FORMATS[format_name].suffix).name
    entry = folder() / _key(spec, level, weights, format_name)
    if not (entry / name).is_file():
        print(f"exporting {weights} for {format_name}, once; kept in {entry.parent}", file=sys.stderr, flush=True)
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=PART, dir=entry.parent) as part:
            made = Path(part, entry.name)
            _export(spec, level, weights, format_name, made / name)
            try:
                os.rename(made, entry)
            except OSError:
                if not (entry / name).is_file():  # else another process was faster
                    raise
    return entry / name


def _key(spec: ModelSpec, level: str | None, weights: Path, format_name: str) -> str:
    """What the exported network depends on, as a name."""
    code = [Path(spec.script), *sorted(PROJECT.glob("common/models/*.py")), PROJECT / "common/media/images.py"]
    code += [PROJECT / "common/prediction" / name for name in ("export.py", "converters.py")]
    digest = hashlib.sha256("".join(map(sha256, [weights, *code])).encode())
    digest.update(f"{spec.name} {level} {spec.input.shape} {format_name}".encode())
    return digest.hexdigest()[:32]


def _export(spec: ModelSpec, level: str | None, weights: Path, format_name: str, target: Path) -> None:
    command = [sys.executable, spec.script, "export", "--format", format_name, "--output", str(target)]
    command += ["--model_weights_path", str(weights.absolute()), *spec.flags(level)]
    command += ["--input_size", str(spec.input.height), str(spec.input.width)]
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise UserError(f"{weights}: cannot be exported for {format_name}: {lines[-1].removeprefix('error: ')}")


def describe(*, clear: bool = False) -> str:
    """Return a line about the cache for a person; clear: empty it."""
    entries = [entry for entry in folder().glob("*") if entry.is_dir()]
    size = sum(file.stat().st_size for entry in entries for file in entry.rglob("*") if file.is_file())
    networks = [file.name for entry in entries for file in sorted(entry.glob("*")) if file.suffix in _suffixes()]
    if clear:
        for entry in entries:
            shutil.rmtree(entry)
    listed = f": {', '.join(sorted(networks))}" if networks else ""
    return f"{folder()}: {len(networks)} exported networks, {megabytes(size)}{' removed' if clear else ''}{listed}"


def _suffixes() -> set[str]:
    return {form.suffix for form in FORMATS.values()}
