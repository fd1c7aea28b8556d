"""The weight files that came with the papers: which there are, which one a file is, and which are there."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from common.core.errors import UserError
from common.models import weight_search
from common.models.registry import LEVELS
from common.models.weight_files import WeightFile, inspect, whole_model

ZENODO = "https://zenodo.org"


@dataclass(frozen=True)
class Archive:
    """A file of a Zenodo record."""

    record: int
    name: str

    @property
    def page(self) -> str:
        """Where a person finds it."""
        return f"{ZENODO}/records/{self.record}"

    def folder(self, parent: Path) -> Path:
        """Return where it is unpacked."""
        return parent / Path(self.name).stem


@dataclass(frozen=True)
class Network:
    """What the weights of a file load into."""

    parameters: int  # how many numbers its weights are, those of BatchNormalization that do not train included
    fingerprint: str  # of the shapes of its weights
    layer: str | None = None  # the name of a layer that tells it from another network of the same fingerprint


@dataclass(frozen=True)
class Released:
    """One released weight file.

    Args:
        model: As the papers write it, or "autoencoder".
        level: "JND1" to "JND3"; None where the model predicts all three, or none.
        name: Of the file; None where it is not known, so that only its shapes can tell.
    """

    model: str
    level: str | None
    name: str | None
    network: Network
    archive: Archive

    def matches(self, path: Path, network: Network | None) -> bool:
        """Return whether the file at `path`, whose shapes are those of `network`, counts as this one."""
        return self.name == path.name if self.name else self.network is network and path.suffix == ".h5"


TCSVT_2024 = Archive(11080876, "FALCON_IEEETCSVT2024_WP3_v1.0.zip")
ICIP_2023 = Archive(11081000, "FALCON_ICIP2023_WP3_V1.0.zip")
ARCHIVES = (TCSVT_2024, ICIP_2023)

_REC = "4aae9d5a483b3465cb1376a6ca34f876aab544c44f8a7205839e18ce00503ba7"
AUTOENCODER = Network(2_887_363, "448f0e92b25e123955e98fa6ff2c3fa4ea1733e0870426582b766ccd75364555")
LAT = Network(9_783_225, "c58a70f2221f4037295648787816baba5967f53c223362c40f319f36f40da3a2")
REC = Network(8_078_384, _REC)
E2E_LAT = Network(11_226_812, "41cd1e1f704f4d17a8f3f394329eaa2e13621c9cc806fd5ab15a5158853b8530")
E2E_REC = Network(8_078_384, _REC, layer="JNDImg")  # REC with its last deconvolution replaced
MJ_LAT = Network(26_070_091, "c28594c4da8c0e6c53ab1aef2bf94d45d48d1590e0ac7d9629e68778446c15c4")
MJ_REC = Network(13_886_928, "d51431d53f5d5a0aea24b0b2fd4568e9a90f2021fbe97262950944d0ca2407b6")
THREE_HEADS = Network(62_000_451, "8129dafcb47aeaac38642b983625a51f0231c1c8229287361085ab1bc16350f4")
ONE_HEAD = Network(30_476_609, "b3f42ebdec353e4627934416bbf60f9a15ca138bb2761a95d2a112b6f9f4fc77")

RELEASED = (
    *(Released("LAT", level, f"LAT{level}.h5", LAT, TCSVT_2024) for level in LEVELS),
    *(Released("REC", level, f"REC{level}.h5", REC, TCSVT_2024) for level in LEVELS),
    *(Released("E2E-LAT", level, f"E2ELAT{level}.h5", E2E_LAT, TCSVT_2024) for level in LEVELS),
    *(Released("E2E-REC", level, f"E2EREC{level}.h5", E2E_REC, TCSVT_2024) for level in LEVELS),
    Released("MJ-LAT", None, "MJLAT.h5", MJ_LAT, TCSVT_2024),
    Released("MJ-REC", None, "MJREC.h5", MJ_REC, TCSVT_2024),
    *(Released("autoencoder", level, f"{level}Reconstruction.h5", AUTOENCODER, TCSVT_2024) for level in LEVELS),
    Released("autoencoder", None, "ImgReconstruction.h5", AUTOENCODER, TCSVT_2024),
    Released("MT_3LJND", None, None, THREE_HEADS, ICIP_2023),
    *(Released("MT_1LJND_VA", level, f"MT_{level}_VA.h5", ONE_HEAD, ICIP_2023) for level in LEVELS),
    Released("MT_3LJND_VA", None, None, THREE_HEADS, ICIP_2023),
)
NETWORKS = tuple(dict.fromkeys(entry.network for entry in RELEASED))


def fingerprint(layers: list[tuple[str, list]]) -> str:
    """Return the SHA-256 of the shapes of `layers`, (name, shapes), as JSON."""
    return hashlib.sha256(json.dumps([shapes for _, shapes in layers]).encode()).hexdigest()


def identify(file: WeightFile) -> Network:
    """Return the network that a weight file fits; raise UserError where it fits none, or has the name of another."""
    digest = fingerprint(file.shapes)
    fits = [network for network in NETWORKS if network.fingerprint == digest]
    if not fits:
        nested = whole_model(file.shapes, 8)  # of the autoencoder, the smallest
        problem = f"{len(file.shapes)} layers with weights, the shapes are those of no released model"
        raise UserError(f"{file.path}: {problem}{nested and f'; {nested}'}")
    names = {name for name, _ in file.shapes}
    network = next((network for network in fits if network.layer in names), fits[0])
    for entry in RELEASED:
        if entry.name and entry.name in (file.path.name, file.about.get("file")) and entry.network is not network:
            advice = f"but its name is that of {entry.model}'s file; rename it or fetch it again"
            raise UserError(f"{file.path}: {summary(file, network)}, {advice}")
    return network


def models_of(network: Network) -> list[str]:
    """Return the models whose weights load into `network`: ["LAT"], ["MT_3LJND", "MT_3LJND_VA"]."""
    return list(dict.fromkeys(entry.model for entry in RELEASED if entry.network is network))


def summary(file: WeightFile, network: Network) -> str:
    """Say in a few words what is in a file whose weights load into `network`."""
    about = file.about
    names = f"{about['model']} {about['level'] or ''}".rstrip() if about else " or ".join(models_of(network))
    return f"{names}, {network.parameters:,} parameters"


def describe(path: Path, shown: str | Path) -> tuple[Network | None, str]:
    """Return (the network that a file fits, a line that says so), or (None, a line that says what is wrong).

    shown: The file as the line names it.
    """
    try:
        file = inspect(path)
        network = identify(file)
    except UserError as error:
        return None, f"{shown}: {str(error).removeprefix(f'{path}: ')}"
    return network, f"{shown}: {summary(file, network)}"


def describe_all(folder: Path) -> dict[Path, tuple[Network | None, str]]:
    """Return {file: what `describe` says of it} of the weight files in and below `folder`."""
    files = [path for path in weight_search.find_files(folder) if path.suffix in (".h5", ".safetensors")]
    return {path: describe(path, path.relative_to(folder)) for path in files}


def verify(path: Path) -> int:
    """Print which model a file, or each one in a folder, fits; return the exit code, 1 where one fits none."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    described = {path: describe(path, path.name)} if path.is_file() else describe_all(path)
    if not described:
        raise UserError(f"{path}: no .h5 file in or below this folder")
    print(*(line for _, line in described.values()), sep="\n")
    return 0 if all(network for network, _ in described.values()) else 1


def list_files(folder: Path) -> int:
    """Print each released file with where it lies, or that it is missing, then other weight files; return 0."""
    described = describe_all(folder)
    lines, others, present = [], dict(described), 0
    for entry in RELEASED:
        places = [path for path, (network, _) in described.items() if entry.matches(path, network)]
        sound = [str(path.relative_to(folder)) for path in places if described[path][0]]
        others = {path: value for path, value in others.items() if not value[0] or path not in places}
        present += bool(sound)
        where = ", ".join(sound) or ("does not fit, see below" if places else "missing")
        if entry.name is None and sound:
            where += f" ({' or '.join(models_of(entry.network))}: their shapes are the same)"
        lines.append(
            f"{entry.model:<12} {entry.level or '':<5} {entry.name or '(name not known)':<22} {where}".rstrip()
        )
    lines += [f"also here: {line}" for _, line in others.values()]
    if present < len(RELEASED):
        pages = " and ".join(archive.page for archive in ARCHIVES)
        lines.append(f"to get the missing ones: python3 -m common.weights fetch, or {pages}")
    print(f"{folder}: {present} of {len(RELEASED)} released files", *lines, sep="\n")
    return 0
