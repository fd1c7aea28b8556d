"""The evaluation's page in a browser: images load as they are scrolled to, the worst come first, the line moves."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait
from skimage import data as photographs

from common.core.files import sha256
from common.data.dataset import Split
from common.evaluation import comparison, page, report
from common.evaluation.config import EvaluationConfig
from common.media.images import write_png

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
COUNT = 20
ERRORS = {"LAT": 9.5, "REC": 10.6, "MJ-LAT": -1.0}


class Coded:
    """An EncodedImageCache whose images coded at a QP are flat, 5 times the QP, and QP kilobytes large."""

    def __init__(self, folder):
        self.folder = folder

    def folder_of(self, path):
        return self.folder / sha256(path)[:32]

    def decode(self, path, qp):
        return np.full((400, 500, 3), qp * 5, np.uint8)

    def measure(self, wanted, jobs):
        return {path: ({qp: {"bytes": 1000 * qp} for qp in qps}, 50.0) for path, qps in wanted.items()}


def write_page(folder, count):
    """Write the page of three models on `count` images, whose errors grow by 0.01 QP from each image to the next.

    The mean errors of the models sort as numbers otherwise than as text.
    """
    paths = [folder / "test" / f"img{number}.png" for number in range(1, count + 1)]
    for number, path in enumerate(paths):
        write_png(path, np.roll(photographs.coffee()[:400, :500], number, axis=1))
    labels = np.array([[20 + n % 10, 27, 31] for n in range(1, count + 1)])
    split = Split("test", folder / "test", paths, labels)
    sources = [path.stem for path in paths]
    data = comparison.EvaluationData("ROOT", split, np.full(3, 23.0), "pseudo-label (VMAF)", sources, {})
    rows = [
        {"model": model, "level": 1, "image": path.name, "source": path.stem, "true": true}
        | {"predicted": true + off + number / 100 * np.sign(off)}
        for model, off in ERRORS.items()
        for number, (path, true) in enumerate(zip(paths, labels[:, 0].astype(float)), 1)
    ]
    known = {"median": 23.0, "PSNR": -1.5, "SSIM": -0.01, "VMAF": -4.0, "bytes": 9, "fixed bytes": 10, "SI": 50.0}
    table = pd.DataFrame(rows).assign(**known, satisfied=np.nan)
    table["coded QP"], table["true QP"] = table["predicted"].round().astype(int), table["true"].astype(int)
    results = report.results(table, data)
    config = EvaluationConfig(data_dir=folder, output=folder, images=1000)
    evaluation = report.Evaluation(config, data, [], [], results, report.tables(results), [], [])
    page.write(evaluation, table, Coded(folder / "coded"))
    return folder / "index.html"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("page"), COUNT)


def test_images_lie_beside_a_small_page(written):
    text = written.read_text()
    images = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert len(text) < 40_000 and "http:" not in text and "https:" not in text
    assert len(images) == COUNT and {tuple(image["size"]) for image in images} == {(500, 360)}
    image = next(image for image in images if image["name"] == "img1.png")
    assert image["levels"]["JND1"]["models"]["REC"] == [31.61, 32, -1.5] and image["bytes"]["32"] == 32000
    copies = sorted(file.name for file in (written.parent / image["folder"]).iterdir())
    assert copies == ["20.webp", "21.webp", "31.webp", "32.webp", "raw.webp"]


def test_a_second_page_keeps_the_copies(written, monkeypatch):
    before = written.read_text()
    monkeypatch.setattr(Coded, "decode", None)
    assert write_page(written.parent, COUNT).read_text() == before


def test_of_many_images_half_have_the_largest_errors():
    names = [f"img{number}" for number in range(100)]
    table = pd.DataFrame({"image": names, "true": 30.0, "predicted": 30 - np.arange(100) / 10})
    assert page.choose(table, 6) == ["img99", "img98", "img97", "img96", "img48", "img0"]
    assert len(page.choose(table, 1)) == 1 and sorted(page.choose(table, 200)) == sorted(names)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(paths):
        pytest.skip("no chromium, or no chromedriver, to open the page in: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(paths[1]))
    yield driver
    driver.quit()


@pytest.fixture
def shown(browser, written):
    """Open the page in a window of a width and run JavaScript in it: shown(width)(script)."""

    def shown(width):
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.get(written.as_uri())
        return browser.execute_script

    return shown


def test_the_line_moves_by_keys(browser, shown, tmp_path):
    run = shown(1280)
    view, slider = (browser.find_element("css selector", one) for one in (".compare", "input[type=range]"))

    loaded = "return [...document.querySelectorAll('.compare img')].slice(0, 2).every(one => one.naturalWidth)"
    WebDriverWait(browser, 30).until(lambda _: run(loaded))

    def flat_columns():
        """The share of columns that have the flat grey of the image coded at QP 30."""
        view.screenshot(str(tmp_path / "view.png"))
        line = np.asarray(Image.open(tmp_path / "view.png").convert("RGB"))[250].astype(int)
        return (np.abs(line - 150).max(axis=1) < 4).mean()

    assert flat_columns() == pytest.approx(0.5, abs=0.03)
    slider.send_keys(webdriver.Keys.HOME)
    assert flat_columns() > 0.97
    slider.send_keys(webdriver.Keys.SPACE)
    assert flat_columns() < 0.03 and slider.get_attribute("aria-valuetext") == "100 % original"
    focused = "return document.activeElement.getAttribute('aria-label').split(':')[0]"
    assert run(focused) == "img20.png"
    slider.send_keys("j")
    assert run(focused) == "img19.png"
    browser.switch_to.active_element.send_keys("k")
    assert run(focused) == "img20.png"


CHOOSE = """const [id, value] = arguments; const control = document.getElementById(id); control.value = value;
    control.dispatchEvent(new Event("input"));"""
NAMES = "return [...document.querySelectorAll('figure strong')].map(one => one.textContent)"


def test_another_model_shows_another_frame(browser, shown):
    run = shown(1280)
    pair = """return [...document.querySelectorAll(".compare img")].slice(0, 2).map(one => one.src.split("/").pop())"""
    assert run(pair) == ["raw.webp", "30.webp"]  # of img20
    drawn = "return document.querySelector('figcaption').innerText"
    WebDriverWait(browser, 30).until(lambda _: "\t" in run(drawn))  # the page is loaded before its table is drawn
    rows = [line.split("\t") for line in run(drawn).splitlines() if "\t" in line]
    assert rows[1:] == [
        ["pseudo-label", "20.0", "", "20", "20.0 kB", ""],
        ["LAT", "29.7", "+9.7", "30", "30.0 kB (+50 %)", "−1.50 dB"],
        ["REC", "30.8", "+10.8", "31", "31.0 kB (+55 %)", "−1.50 dB"],
        ["MJ-LAT", "18.8", "−1.2", "19", "19.0 kB (−5 %)", "−1.50 dB"],
    ]
    run(CHOOSE, "model", "MJ-LAT")
    run(CHOOSE, "other", "REC")
    assert run(pair) == ["31.webp", "19.webp"]
    run(CHOOSE, "other", "pseudo-label")
    assert run(pair) == ["20.webp", "19.webp"]


def test_the_largest_errors_come_first_and_others_can_be_hidden(shown):
    run = shown(1280)
    assert run(NAMES) == [f"img{number}.png" for number in range(COUNT, 0, -1)]
    run(CHOOSE, "order", "0")
    assert run(NAMES) == [f"img{number}.png" for number in range(1, COUNT + 1)]  # 10 after 9
    run(CHOOSE, "filter", "under")
    assert run(NAMES) == []
    run(CHOOSE, "model", "MJ-LAT")
    assert len(run(NAMES)) == COUNT
    run(CHOOSE, "filter", "1")
    run(CHOOSE, "name", "IMG1")
    assert run(NAMES) == ["img1.png", *(f"img{number}.png" for number in range(10, 20))]
    assert run("return document.getElementById('count').textContent") == "11 of 20 images"


def test_columns_sort_numbers_as_numbers(shown):
    run = shown(1280)
    click = """const table = document.querySelector("table"), head = [...table.querySelectorAll("th")];
        const at = head.findIndex(one => one.textContent === arguments[0]); head[at].firstChild.click();
        return [...table.tBodies[0].rows].map(row => row.cells[0].textContent).concat(head[at].ariaSort);"""
    assert run(click, "MAE, QP") == ["MJ-LAT", "LAT", "REC", "ascending"]  # 1.11, 9.61, 10.71
    assert run(click, "MAE, QP") == ["REC", "LAT", "MJ-LAT", "descending"]
    assert run(click, "bias, QP") == ["MJ-LAT", "LAT", "REC", "ascending"]  # -1.11 first
    assert run(click, "model") == ["LAT", "MJ-LAT", "REC", "ascending"]


@pytest.mark.parametrize("width", [1280, 400])
def test_only_near_images_load_and_nothing_sticks_out(browser, shown, written, width):
    run = shown(width)
    loaded = "return [...document.images].filter(one => one.naturalWidth).length"
    assert run(loaded) < 2 * COUNT
    assert run("return document.documentElement.scrollWidth") <= width
    run("window.scrollTo(0, document.body.scrollHeight)")
    last = browser.find_elements("css selector", ".compare img")[-1]
    WebDriverWait(browser, 30).until(lambda _: last.get_property("naturalWidth"))
    sources = run("return [...document.images].map(one => one.src)")
    assert len(sources) == 2 * COUNT
    assert all(source.startswith(f"{written.parent.as_uri()}/coded/") for source in sources)
    assert run("return [...document.images].filter(one => one.complete && !one.naturalWidth).length") == 0


def test_print_has_the_images_and_no_controls(browser, shown):
    run = shown(1280)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        run("dispatchEvent(new Event('beforeprint'))")  # of a page that was not scrolled
        loaded = "return [...document.images].every(one => one.naturalWidth)"
        WebDriverWait(browser, 30).until(lambda _: run(loaded))
        assert not browser.find_element("class name", "controls").is_displayed()
        assert browser.find_element("class name", "compare").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def luminance(colour):
    """The relative luminance of WCAG 2, of a colour such as "rgb(0, 18, 255)"."""
    parts = np.array([float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_in_light_and_dark(browser, shown, scheme):
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    run = shown(1280)
    colour = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    ground = luminance(run(colour, ".controls", "backgroundColor"))
    assert (ground > 0.5) == (scheme == "light")
    for text in ("body", "nav a", ".over"):
        bright, dark = sorted([ground, luminance(run(colour, text, "color"))], reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5
