"""`python3 -m common.weights fetch|list|verify`: the weight files that came with the papers.

`fetch` downloads the two Zenodo archives and unpacks their weight files; `list` says what is there, for which model and
level, and what is missing; `verify PATH` says which model a weight file fits.

A file is recognised by the shapes of its arrays, in order, so its name does not matter.  Shapes tell neither the levels
of a model apart, nor the four autoencoder files, nor MT_3LJND from MT_3LJND_VA.  The values are not looked at.
"""

import errno
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from common.core.errors import UserError
from common.core.files import PART, sha256
from common.media.images import MTJND, TCSVT, InputFormat
from common.models import weight_files
from common.models.zenodo import RECEIPT, Archive, bring


@dataclass(frozen=True)
class Network:
    """What the weights of a file load into.

    program: the file that builds it, relative to the project.
    parameters: how many numbers its weights are, those of BatchNormalization that do not train included.
    fingerprint: of the shapes of its weights, see `fingerprint`.
    input: the pictures it expects, in B, G, R order: 640 x 352, 0..255, or 480 x 270, 0..1.
    layer: the name of a layer that tells it from another network of the same fingerprint.
    """

    program: str
    parameters: int
    fingerprint: str
    input: InputFormat = TCSVT
    layer: str | None = None


@dataclass(frozen=True)
class Released:
    """One released weight file.

    model: as the papers write it, or "autoencoder".
    level: 1 to 3, None where the model has all three, or none.
    name: of the file; None where it is not known, so that only its shapes can tell.
    """

    model: str
    level: int | None
    name: str | None
    network: Network
    archive: Archive


TCSVT_2024 = Archive(11080876, "FALCON_IEEETCSVT2024_WP3_v1.0.zip")
ICIP_2023 = Archive(11081000, "FALCON_ICIP2023_WP3_V1.0.zip")
ARCHIVES = (TCSVT_2024, ICIP_2023)

_REC = "4aae9d5a483b3465cb1376a6ca34f876aab544c44f8a7205839e18ce00503ba7"
AUTOENCODER = Network(
    "common/models/autoencoder.py", 2_887_363, "448f0e92b25e123955e98fa6ff2c3fa4ea1733e0870426582b766ccd75364555"
)
LAT = Network("LAT.py", 9_783_225, "c58a70f2221f4037295648787816baba5967f53c223362c40f319f36f40da3a2")
REC = Network("REC.py", 8_078_384, _REC)
E2E_LAT = Network("E2ELAT.py", 11_226_812, "41cd1e1f704f4d17a8f3f394329eaa2e13621c9cc806fd5ab15a5158853b8530")
E2E_REC = Network("E2EREC.py", 8_078_384, _REC, layer="JNDImg")  # REC with its last deconvolution replaced
MJ_LAT = Network("MJLAT.py", 26_070_091, "c28594c4da8c0e6c53ab1aef2bf94d45d48d1590e0ac7d9629e68778446c15c4")
MJ_REC = Network("MJREC.py", 13_886_928, "d51431d53f5d5a0aea24b0b2fd4568e9a90f2021fbe97262950944d0ca2407b6")
THREE_HEADS = Network("MTJND.py", 62_000_451, "8129dafcb47aeaac38642b983625a51f0231c1c8229287361085ab1bc16350f4", MTJND)
ONE_HEAD = Network("MTJND.py", 30_476_609, "b3f42ebdec353e4627934416bbf60f9a15ca138bb2761a95d2a112b6f9f4fc77", MTJND)
NETWORKS = (AUTOENCODER, LAT, REC, E2E_LAT, E2E_REC, MJ_LAT, MJ_REC, THREE_HEADS, ONE_HEAD)

LEVELS = (1, 2, 3)
RELEASED = (
    *(Released("LAT", level, f"LATJND{level}.h5", LAT, TCSVT_2024) for level in LEVELS),
    *(Released("REC", level, f"RECJND{level}.h5", REC, TCSVT_2024) for level in LEVELS),
    *(Released("E2E-LAT", level, f"E2ELATJND{level}.h5", E2E_LAT, TCSVT_2024) for level in LEVELS),
    *(Released("E2E-REC", level, f"E2ERECJND{level}.h5", E2E_REC, TCSVT_2024) for level in LEVELS),
    Released("MJ-LAT", None, "MJLAT.h5", MJ_LAT, TCSVT_2024),
    Released("MJ-REC", None, "MJREC.h5", MJ_REC, TCSVT_2024),
    *(Released("autoencoder", level, f"JND{level}Reconstruction.h5", AUTOENCODER, TCSVT_2024) for level in LEVELS),
    Released("autoencoder", None, "ImgReconstruction.h5", AUTOENCODER, TCSVT_2024),
    Released("MT_3LJND", None, None, THREE_HEADS, ICIP_2023),
    *(Released("MT_1LJND_VA", level, f"MT_JND{level}_VA.h5", ONE_HEAD, ICIP_2023) for level in LEVELS),
    Released("MT_3LJND_VA", None, None, THREE_HEADS, ICIP_2023),
)


def fingerprint(layers):
    """The SHA-256 of the shapes of `layers`, which `common.models.weight_files.layout` gives, as JSON."""
    return hashlib.sha256(json.dumps([shapes for _, shapes in layers]).encode()).hexdigest()


def identify(path):
    """The Network that the weight file at `path` fits.  Raises UserError when it fits none, or is damaged."""
    layers = weight_files.layout(path)
    found = fingerprint(layers)
    fits = [network for network in NETWORKS if network.fingerprint == found]
    if not fits:
        raise UserError(f"{path}: {len(layers)} layers with weights, the shapes are those of no released model")
    names = {name for name, _ in layers}
    return next((network for network in fits if network.layer in names), fits[0])


def models(network):
    """The models whose weights load into `network`, for a person: "LAT", "MT_3LJND or MT_3LJND_VA"."""
    return " or ".join(dict.fromkeys(entry.model for entry in RELEASED if entry.network is network))


def describe(path, shown=None):
    """(the Network that the file at `path` fits, a line that says so), or (None, a line that says what is wrong).

    A file that has a released file's name and holds something else is wrong.  shown: what the line calls the file.
    """
    shown = shown or path.name
    try:
        network = identify(path)
    except UserError as error:
        return None, f"{shown}: {str(error).removeprefix(f'{path}: ')}"
    line = f"{shown}: {models(network)}, {network.parameters:,} parameters"
    for entry in RELEASED:
        if entry.name == path.name and entry.network is not network:
            return None, f"{line}, but its name is that of {entry.model}'s file; rename it or fetch it again"
    return network, line


def find_files(folder):
    """The .h5 files in and below `folder`, sorted; UserError where there is no such folder."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise UserError(f"{folder}: {found}; expected the folder that holds the weight files (.h5)")
    # .part-: being written, or left by a process that was killed
    return sorted(path for path in folder.rglob("*.h5") if path.is_file() and not path.name.startswith(PART))


def verify(options):
    """Say of each file which model it fits; 1 when one fits none."""
    path = Path(options.path)
    if path.is_file():
        described = [describe(path)]
    else:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        described = [describe(file, file.relative_to(path)) for file in find_files(path)]
        if not described:
            raise UserError(f"{path}: no .h5 file in or below this folder")
    for _, line in described:
        print(line)
    return 0 if all(network for network, _ in described) else 1


def show(options):
    """Print each released file with where it lies, or that it is missing; then the other weight files."""
    folder = Path(options.folder)
    described = {path: describe(path, path.relative_to(folder)) for path in find_files(folder)}
    lines, present = [], 0
    for entry in RELEASED:
        places = [path for path, (network, _) in described.items() if _is(entry, path, network)]
        sound = [str(path.relative_to(folder)) for path in places if described[path][0]]
        present += bool(sound)
        where = ", ".join(sound) or ("does not fit, see below" if places else "missing")
        if entry.name is None and sound:
            where += f" ({models(entry.network)}: their shapes are the same)"
        level = f"JND{entry.level}" if entry.level else ""
        lines.append(f"{entry.model:<12} {level:<5} {entry.name or '(name not known)':<22} {where}".rstrip())
    print(f"{folder}: {present} of {len(RELEASED)} released files", *lines, sep="\n")
    for path, (network, line) in described.items():
        if not network or not any(_is(entry, path, network) for entry in RELEASED):
            print(f"also here: {line}")
    if present < len(RELEASED):
        print(f"the missing: python3 -m common.weights fetch, or {' and '.join(a.page for a in ARCHIVES)}")
    return 0


def _is(entry, path, network):
    """Whether the file at `path`, which fits `network`, stands for `entry`."""
    return entry.name == path.name if entry.name else entry.network is network


def fetch(options):
    """Bring the archives into the folder, say what is in them; 1 when a file fits no model or one is missing."""
    folder, code = Path(options.folder), 0
    for archive in ARCHIVES:
        if archive.record not in (options.record or [archive.record]):
            continue
        files = _there(folder, archive)
        if files:
            print(f"{archive.name}: there already, nothing to download")
        else:
            try:
                files = bring(folder, archive, options.zenodo.rstrip("/"))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise UserError(f"{folder}: the disk is full; make room or give another --folder") from None
        described = [describe(path, path.relative_to(folder)) for path in files]
        for _, line in described:
            print(line)
        expected = [entry.name for entry in RELEASED if entry.archive is archive and entry.name]
        missing = [name for name in expected if name not in {path.name for path in files}]
        if missing:
            print(f"not in {archive.name}: {', '.join(missing)}")
        for name in expected:
            places = [str(path.relative_to(folder)) for path in find_files(folder) if path.name == name]
            if len(places) > 1:
                print(f"{name} lies in {len(places)} places, {', '.join(places)}; keep one, so that programs find it")
        code |= bool(missing) or not all(network for network, _ in described)
    return int(code)


def _there(folder, archive):
    """The weight files of `archive` that are in `folder`, sound and complete; otherwise an empty list."""
    target = folder / Path(archive.name).stem
    try:
        digests = json.loads((target / RECEIPT).read_text())
        files = [target / name for name in digests]
        sound = all(path.is_file() and sha256(path) == digests[name] for path, name in zip(files, digests))
        return sorted(path for path in files if path.suffix == ".h5") if sound else []
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (ValueError, TypeError, AttributeError):  # not what `bring` writes
        return []
    # Unpacked by hand: the names and shapes are all there is to go by.
    entries = [entry for entry in RELEASED if entry.archive is archive]
    fits = {path: describe(path)[0] for path in find_files(folder)} if folder.is_dir() else {}
    places = [[path for path in fits if fits[path] and _is(entry, path, fits[path])] for entry in entries]
    return sorted({path for some in places for path in some}) if all(places) else []
