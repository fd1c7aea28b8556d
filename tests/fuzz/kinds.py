"""Each kind of input: sound ones, made once, and the commands that read a damaged one."""

import contextlib
import functools
import hashlib
import http.server
import io
import json
import os
import random
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import small
import tifffile
from keras import layers
from moving import make_clip, moving
from PIL import Image
from skimage import data

from common import prepare, weights
from common.cli.script import run_script
from common.core.errors import UserError
from common.data.labels import write_labels
from common.media.ffmpeg import decode_frames
from common.media.images import read_image, write_png
from common.models.registry import Output
from common.models.released import ICIP_2023
from common.models.weight_files import save
from fuzz import mutations, runner

PHOTOGRAPH = data.coffee()[100:148, 150:214]  # 64 x 48
GRAY, SIXTEEN = PHOTOGRAPH[..., 1], PHOTOGRAPH.astype(np.uint16) * 257
NEAR = 3  # levels by which two decoders of a lossy format may differ
Command = Callable[[], int]


def pillow(suffix, pixels=PHOTOGRAPH, mode=None, **options):
    buffer, image = io.BytesIO(), Image.fromarray(pixels)
    image = image.convert(mode) if mode else image
    image.save(buffer, Image.registered_extensions()[f".{suffix}"], **options)
    return suffix, buffer.getvalue()


def tiff(pixels=PHOTOGRAPH, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return "tif", buffer.getvalue()


@functools.cache
def pictures() -> list[tuple[str, bytes]]:
    """Sound pictures, (suffix, bytes), of every format."""
    exif = Image.Exif()
    exif[274] = 6
    alpha = np.dstack([PHOTOGRAPH, GRAY])
    found = [pillow("png"), pillow("png", GRAY), pillow("png", SIXTEEN[..., 0]), pillow("png", alpha),
        pillow("png", mode="P"), pillow("png", mode="1"), pillow("jpg", exif=exif), pillow("jpg", progressive=True),
        pillow("jpg", quality=95, subsampling=0), pillow("jpg", mode="CMYK"), pillow("jpg", GRAY),
        pillow("jpg", restart_marker_blocks=2), pillow("bmp"), pillow("bmp", mode="P"), pillow("bmp", mode="1"),
        pillow("webp"), pillow("webp", lossless=True), pillow("webp", alpha), pillow("ppm"), pillow("pgm", GRAY),
        pillow("pgm", SIXTEEN[..., 0]), pillow("avif"), pillow("jp2"), pillow("gif"), pillow("tga"),
        pillow("tga", compression="tga_rle")]  # fmt: skip
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        found.append(pillow("tif", compression=compression))
    found += [pillow("tif", mode="1", compression="group4"), pillow("tif", mode="P"), pillow("tif", mode="CMYK"),
        tiff(SIXTEEN), tiff(byteorder=">"), tiff(np.moveaxis(PHOTOGRAPH, -1, 0), planarconfig="separate"),
        tiff(SIXTEEN, byteorder=">"), tiff(tile=(16, 16)), tiff(SIXTEEN[..., 0]), tiff(GRAY, photometric="miniswhite"),
        tiff(alpha, extrasamples=["unassalpha"]), tiff(bigtiff=True)]  # fmt: skip
    return found


def build_with_map(shape):
    """The network of small.py with an attention map besides."""
    model = small.build(shape)
    flat = layers.Flatten()(layers.Conv2D(1, 3, strides=8, padding="same")(model.input))
    return keras.Model(model.input, [model.output, layers.Reshape((2, 2, 1), name="VA_output")(layers.Softmax()(flat))])


WITH_MAP = replace(
    small.SMALL, build=build_with_map, outputs=(*small.SMALL.outputs, Output("VA_output", "attention map", loss="KLD"))
)


def train(root: Path, *flags: object, spec=small.SMALL, out: str | Path = "out") -> int:
    words = ["train", "--data_dir", root, "--checkpoint_path", out, "--csv_log_path", out, "--epochs", 2]
    words += ["--output_bias", "zero", *flags]
    return run_script("", spec, arguments=[str(word) for word in words])


class Material:
    """Sound inputs in a folder, made by the commands themselves."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.root, self.weights = folder / "root", folder / "Best.h5"
        self.make("weights", lambda: save(small.build(), self.weights) or 0)
        for split, count in (("train", 4), ("valid", 2), ("test", 2)):
            names = [f"img{number}.png" for number in range(1, count + 1)]
            for number, name in enumerate(names):
                write_png(
                    self.root / split / name, data.rocket()[8 * number : 8 * number + 36, 60 * len(split) :][:, :64]
                )
            write_labels(self.root / split, names, np.array([[22, 27, 31]]) + np.arange(count)[:, None])
        self.make("maps", lambda: prepare.main(["attention", "--data_dir", str(self.root)]))
        self.trained = self.make("trained", lambda: train(self.root))
        self.predicted = self.make("predicted", lambda: self.predict([self.root / "test"], "--output", "rows.csv",
                                                                     "--encode", "coded"))  # fmt: skip
        self.photos = folder / "photos"
        self.photos.mkdir()
        for number, image in enumerate((data.coffee(), data.astronaut(), data.chelsea())):
            Image.fromarray(image[:360]).resize((640, 360)).save(self.photos / f"photo{number}.png")
        self.prepared = self.make("prepared", lambda: self.photographs())
        self.clips = folder / "clips"
        self.clips.mkdir()
        kinds = {"a.mp4": {}, "b.mkv": {}, "c.264": {}, "d.avi": {"vcodec": "mpeg4"}, "e.webm": {"vcodec": "libvpx"},
                 "f.ts": {}, "g.mov": {"vcodec": "mjpeg"}, "h.mpg": {"vcodec": "mpeg2video", "rate": 25}}  # fmt: skip
        for number, (name, options) in enumerate(kinds.items()):
            make_clip(self.clips / name, moving(data.coffee()[number:], 6, 64, 48), **options)

    def make(self, name: str, command: Command) -> Path:
        """Run a command of ours, which must end well, in a folder of its own."""
        folder = self.folder / f"made-{name}"
        folder.mkdir(parents=True)
        end = runner.wait(runner.start(within(folder, command), folder, limits=False), folder, 300)
        assert end.code == 0, end
        shutil.rmtree(folder / "tmp")
        return folder

    def predict(self, inputs: list[Path], *flags: object) -> int:
        words = ["predict", *inputs, "--model_weights_path", self.weights, *flags]
        return run_script("", small.SMALL, arguments=[str(word) for word in words])

    def photographs(self, *flags: str) -> int:
        return prepare.main(["photos", str(self.photos), "--data_dir", "set", "--crops", "1", "--seed", "1", *flags])


def within(folder: Path, command: Command) -> Command:
    """Return the command, run in a folder."""

    def run():
        os.chdir(folder)
        return command()

    return run


class Pictures:
    """Ten a command: `predict --output`."""

    inputs = 10

    def __call__(self, made: Material, folder: Path, draw: random.Random) -> Command:
        for number in range(self.inputs):
            suffix, content = draw.choice(pictures())
            mutations.write(folder / f"in/{number}.{suffix}", mutations.in_bytes(content, draw))
        paths = sorted((folder / "in").iterdir())
        return lambda: made.predict(paths, "--output", "rows.csv")


class Decoders(Pictures):
    """The same pictures as another decoder gives them, or refused."""

    def __call__(self, made: Material, folder: Path, draw: random.Random) -> Command:
        super().__call__(made, folder, draw)
        return lambda: compare(sorted((folder / "in").iterdir()))


def compare(paths: list[Path]) -> int:
    """Read pictures and print a line for each that is unlike what every other decoder that reads it gives."""
    for path in paths:
        try:
            own = read_image(path).astype(int)
        except UserError:
            print(f"refused {path.name}")
            continue
        apart = {}
        for name, decode in DECODERS.items():
            with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(Exception):
                other = decode(path)
                if other.shape == own.shape and np.abs(own - other).max() <= NEAR:
                    break
                apart[name] = np.abs(own - other).mean().round(2) if other.shape == own.shape else other.shape
        else:
            print(f"APART {path.name}: {apart or 'no other decoder reads it'}")
            continue
        print(f"same {path.name}")
    return 0


def by_opencv(path: Path) -> np.ndarray:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def by_tifffile(path: Path) -> np.ndarray:
    page = tifffile.TiffFile(path).pages[0]
    pixels = page.asarray()
    pixels = np.moveaxis(pixels, 0, -1) if page.planarconfig == 2 and pixels.ndim == 3 else pixels
    pixels = pixels >> 8 if pixels.dtype == np.uint16 else pixels * np.uint8(255) if pixels.dtype == bool else pixels
    pixels = pixels if pixels.ndim == 3 else np.dstack([pixels] * 3)
    return (255 - pixels if page.photometric == 0 else pixels)[..., :3]


def by_ffmpeg(path: Path) -> np.ndarray:
    return next(decode_frames(path))


DECODERS = {"OpenCV": by_opencv, "tifffile": by_tifffile, "ffmpeg": by_ffmpeg}


class Clips:
    """`predict` with frames of each kind of choice."""

    inputs = 1

    def __call__(self, made: Material, folder: Path, draw: random.Random) -> Command:
        clip = draw.choice(sorted(made.clips.iterdir()))
        target = folder / f"in/x{clip.suffix}"
        mutations.write(target, mutations.in_bytes(clip.read_bytes(), draw))
        frames = draw.choice(("first", "middle", "scenes", "0,3", "1s", "keyframes"))
        return lambda: made.predict([target], "--frames", frames, "--output", "rows.csv")


class Weights:
    """`predict` with, and `weights verify` of, a damaged file."""

    inputs = 1

    def __call__(self, made: Material, folder: Path, draw: random.Random) -> Command:
        path = folder / "in/Best.h5"
        mutations.write(path, mutations.in_hdf5(made.weights.read_bytes(), draw))
        if draw.random() < 0.5:
            return lambda: weights.main(["verify", str(path)])
        words = ["predict", str(made.root / "test"), "--model_weights_path", str(path)]
        return lambda: run_script("", small.SMALL, arguments=words)


class Labels:
    """JND-Levels.txt: `prepare check`, `test` or `train`."""

    inputs = 1

    def __call__(self, made: Material, folder: Path, draw: random.Random) -> Command:
        root = shutil.copytree(made.root, folder / "in")
        split = draw.choice(("train", "valid", "test"))
        file = root / split / "JND-Levels.txt"
        text = file.read_text()
        if draw.random() < 0.5:
            lines = [f"img{number}.png {line}" for number, line in enumerate(text.splitlines(), 1)]
            text = "\n".join(draw.choice((lines, ["name JND1 JND2 JND3", *lines]))).replace(" ", draw.choice(" ,;\t"))
        file.write_bytes(mutations.in_text(text, draw))
        words = ["test", "--data_dir", root, "--model_weights_path", made.weights, "--result_path", "out"]
        return draw.choice(
            (
                lambda: prepare.main(["check", str(root)]),
                lambda: run_script("", small.SMALL, arguments=[*map(str, words)]),
                lambda: train(root),
            )
        )


class Tables:
    """Manifests (`prepare check`) and tables of labels (`prepare clips --labels`, `prepare mcl-jci`)."""

    inputs = 1

    def __call__(self, made: Material, folder: Path, draw: random.Random) -> Command:
        kind = draw.randrange(3)
        if kind == 0:
            root = shutil.copytree(made.prepared / "set", folder / "in")
            file = root / "manifest.csv"
            file.write_bytes(mutations.in_text(file.read_text(), draw))
            return lambda: prepare.main(["check", str(root)])
        if kind == 1:
            rows = [f"{name.name},{20 + number},30,40" for number, name in enumerate(sorted(made.clips.iterdir()))]
            mutations.write(folder / "in.csv", mutations.in_text("\n".join(["name,JND1,JND2,JND3", *rows[:3]]), draw))
            words = [
                "clips",
                made.clips,
                "--labels",
                folder / "in.csv",
                "--data_dir",
                folder / "set",
                "--split",
                1,
                0,
                0,
            ]
            return lambda: prepare.main([str(word) for word in [*words, "--frames", "first", "--jobs", 2]])
        sheet, images = folder / "in/sheets", folder / "in/images"
        for number in (1, 2, 3):
            name = f"ImageJND_SRC{number:02}"
            mutations.write(images / f"{name}.bmp", pillow("bmp", np.roll(PHOTOGRAPH, 9 * number, 1))[1])
            for qf in (20, 30, 40):
                jpeg = pillow("jpg", np.roll(PHOTOGRAPH, 9 * number, 1), quality=qf)[1]
                mutations.write(images / name / f"{name}_{qf:03}.jpg", jpeg)
        stairs = "image,n_levels,qf_levels\n1,3,40 30 20\n2,3,40 30 20\n3,3,40 30 20\n"
        people = "image,subject,jnd1_qf,jnd2_qf,jnd3_qf\n1,1,40,30,20\n2,1,40,30,20\n3,1,40,30,20\n"
        damaged = draw.randrange(2)
        for name, text in (("stairs.csv", stairs), ("people.csv", people)):
            changed = damaged == (name == "people.csv")
            mutations.write(sheet / name, mutations.in_text(text, draw) if changed else text.encode())
        words = ["mcl-jci", images, sheet, "--data_dir", folder / "set", "--label", draw.choice(("stairs", "median"))]
        return lambda: prepare.main([str(word) for word in words])


class Maps:
    """Attention maps: `train` with them."""

    inputs = 1

    def __call__(self, made: Material, folder: Path, draw: random.Random) -> Command:
        root = shutil.copytree(made.root, folder / "in")
        mutated = draw.choice(sorted((root / "vatrain").iterdir()))
        suffix, content = draw.choice([(mutated.suffix[1:], mutated.read_bytes()), *pictures()])
        mutated.unlink()
        mutated.with_suffix(f".{suffix}").write_bytes(mutations.in_bytes(content, draw))
        return lambda: train(root, spec=WITH_MAP)


class Training:
    """What a training left: `train --resume`, or with features that changed."""

    inputs = 1

    def __call__(self, made: Material, folder: Path, draw: random.Random) -> Command:
        out = shutil.copytree(made.trained / "out", folder / "in")
        file = draw.choice([out / "run.json", out / "state.npz", out / "logs.csv", *out.glob("features/*.npy"),
                            out / "Best.h5"])  # fmt: skip
        change = {".json": mutations.in_json, ".csv": lambda text, draw: mutations.in_text(text.decode(), draw)}
        file.write_bytes(change.get(file.suffix, mutations.in_bytes)(file.read_bytes(), draw))
        flags = ["--resume", "--epochs", draw.choice((2, 3))]
        return lambda: train(made.root, *flags, out=out)


class Rows:
    """Tables of `--resume`: of `predict --output`, finished or not, and the report of `--encode`."""

    inputs = 1

    def __call__(self, made: Material, folder: Path, draw: random.Random) -> Command:
        shutil.copytree(made.predicted / "coded", folder / "coded")
        text, report = (made.predicted / "rows.csv").read_text(), folder / "coded/report.csv"
        if draw.random() < 0.5:
            report.write_bytes(mutations.in_text(report.read_text(), draw))
            if draw.random() < 0.3:
                report.rename(report.with_name(".part-report.csv"))
            return lambda: made.predict([made.root / "test"], "--encode", "coded", "--resume")
        name = draw.choice(("rows.csv", "rows.jsonl"))
        if name == "rows.jsonl":
            head, *lines = [line.split(",") for line in text.splitlines()]
            text = "".join(f"{json.dumps(dict(zip(head, line)))}\n" for line in lines)
        (folder / draw.choice((name, f".part-{name}"))).write_bytes(mutations.in_text(text, draw))
        return lambda: made.predict([made.root / "test"], "--output", name, "--resume")


class Plans:
    """What `prepare photos` goes on with: its plan and its records."""

    inputs = 1

    def __call__(self, made: Material, folder: Path, draw: random.Random) -> Command:
        root = shutil.copytree(made.prepared / "set", folder / "set")
        file = draw.choice(sorted((root / ".prepare").glob("*.json")))
        file.write_bytes(mutations.in_json(file.read_bytes(), draw))
        return lambda: made.photographs(*draw.choice(([], ["--overwrite"])))


class Archives:
    """`weights fetch` of an archive, from a server that plays Zenodo."""

    inputs = 1

    def __call__(self, made: Material, folder: Path, draw: random.Random) -> Command:
        members = {"WP3/a.h5": made.weights.read_bytes(), "WP3/README.md": b"# Use", "WP3/LAT.py": b""}
        body = mutations.in_zip(members, draw)
        digest = f"md5:{hashlib.md5(body).hexdigest()}"
        record = f"/api/records/{ICIP_2023.record}"
        link = f"{record}/files/content"

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                file = {"key": ICIP_2023.name, "size": len(body), "checksum": digest, "links": {"self": url + link}}
                reply = body if self.path == link else answer(json.dumps({"files": [file]}).encode())
                self.send_response(200)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_):
                pass

        damaged = draw.random() < 0.2

        def answer(sound):
            return mutations.in_json(sound, draw) if damaged else sound

        url = ""

        def command():
            nonlocal url
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            url = f"http://127.0.0.1:{server.server_port}"
            threading.Thread(target=server.serve_forever, daemon=True).start()
            words = ["fetch", "--folder", "got", "--record", ICIP_2023.record, "--zenodo", url]
            return weights.main([str(word) for word in words])

        return command


# {name: (what makes an input and its command, the share of all inputs)}
KINDS = {
    "pictures": (Pictures(), 0.24),
    "pictures, other decoders": (Decoders(), 0.24),
    "clips": (Clips(), 0.06),
    "weight files": (Weights(), 0.1),
    "JND-Levels.txt": (Labels(), 0.07),
    "tables": (Tables(), 0.09),
    "attention maps": (Maps(), 0.03),
    "trainings": (Training(), 0.05),
    "rows of --resume": (Rows(), 0.05),
    "plans of prepare": (Plans(), 0.03),
    "archives": (Archives(), 0.04),
}
