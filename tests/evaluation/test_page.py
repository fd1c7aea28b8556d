"""The evaluation's page in a browser: the slider moves, columns sort, nothing is fetched, nothing sticks out."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from skimage import data as photographs

from common.data.dataset import Split
from common.evaluation import comparison, page, report
from common.evaluation.config import EvaluationConfig
from common.media.images import write_png

INSTALL = "apt-get install chromium chromium-driver; pip install selenium==4.51.0"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page of three models on two images, whose errors sort as numbers otherwise than as text."""
    folder = tmp_path_factory.mktemp("page")
    paths = [folder / "test" / f"img{number}.png" for number in (1, 2)]
    for path, pixels in zip(paths, (photographs.astronaut(), photographs.coffee())):
        write_png(path, pixels[:400, :500])
    split = Split("test", folder / "test", paths, np.array([[22, 27, 31], [24, 29, 33]]))
    data = comparison.EvaluationData("ROOT", split, np.full(3, 23.0), "pseudo-label (VMAF)", ["a", "b"], {})
    rows = [
        {"model": model, "level": 1, "image": path.name, "source": source, "true": true, "predicted": true + off}
        for model, off in {"LAT": 9.5, "REC": 10.25, "MJ-LAT": -1.0}.items()
        for path, source, true in zip(paths, "ab", (22.0, 24.0))
    ]
    known = {"median": 23.0, "PSNR": -1.5, "SSIM": -0.01, "VMAF": -4.0, "bytes": 9, "fixed bytes": 10, "SI": 50.0}
    table = pd.DataFrame(rows).assign(**known, satisfied=np.nan)
    table["coded QP"] = table["predicted"].round().astype(int)
    encoded_images = SimpleNamespace(decode=lambda path, qp: np.full((400, 500, 3), qp * 5, np.uint8))
    results = report.results(table, data)
    config = EvaluationConfig(data_dir=folder, output=folder)
    page.write(report.Evaluation(config, data, [], [], results, report.tables(results), [], []), table, encoded_images)
    return folder / "index.html"


def test_frames_are_shared_and_light(written):
    text = written.read_text()
    (images,) = (part.split("</script>")[0] for part in text.split('id="data">')[1:])
    for image, qps in zip(json.loads(images), (["21", "32"], ["23", "34"])):  # LAT and REC agree in a whole QP
        assert sorted(image["coded"]) == qps and len(image["rows"]) == 3 and image["size"] == [500, 360]
    assert len(text) < 400_000 and "http:" not in text and "https:" not in text


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    selenium = pytest.importorskip("selenium.webdriver", reason=f"no selenium to drive a browser: {INSTALL}")
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(paths):
        pytest.skip(f"no chromium, or no chromedriver, to open the page in: {INSTALL}")
    options = selenium.ChromeOptions()
    options.binary_location = paths[0]
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    driver = selenium.Chrome(options, selenium.ChromeService(paths[1]))
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


def test_the_slider_shows_more_or_less_of_the_coded_image(browser, shown, tmp_path):
    from PIL import Image
    from selenium.webdriver import Keys
    from selenium.webdriver.common.by import By

    shown(1280)
    view, slider = (browser.find_element(By.CSS_SELECTOR, one) for one in (".compare", "input[type=range]"))

    def coded_columns():
        """The share of columns that have the flat grey of the image coded at QP 32."""
        view.screenshot(str(tmp_path / "view.png"))
        line = np.asarray(Image.open(tmp_path / "view.png").convert("RGB"))[100].astype(int)
        return (np.abs(line - 160).max(axis=1) < 4).mean()

    assert coded_columns() == pytest.approx(0.5, abs=0.03)
    slider.send_keys(Keys.HOME)
    assert coded_columns() > 0.97
    slider.send_keys(Keys.END)
    assert coded_columns() < 0.03


def test_another_model_shows_another_frame(shown):
    run = shown(1280)
    before, after = (
        run(f"""const choice = document.getElementById("run"); choice.value = "{name}";
        choice.dispatchEvent(new Event("change")); const figure = document.querySelector(".images figure");
        return [figure.querySelector("img + img").src, figure.textContent];""")
        for name in ("LAT JND1", "MJ-LAT JND1")
    )
    assert before[0] != after[0] and all(src.startswith("data:image/webp") for src in (before[0], after[0]))
    assert "coded at QP 32" in before[1] and "predicted 31.5 (+9.5)" in before[1]
    assert "coded at QP 21" in after[1] and "pseudo-label QP 22, predicted 21.0 (-1.0)" in after[1]


def test_columns_sort_numbers_as_numbers(shown):
    run = shown(1280)
    click = """const table = document.querySelector("table"), head = [...table.querySelectorAll("th")];
        const at = head.findIndex(one => one.textContent === arguments[0]); head[at].firstChild.click();
        return [...table.tBodies[0].rows].map(row => row.cells[0].textContent).concat(head[at].ariaSort);"""
    assert run(click, "MAE, QP") == ["MJ-LAT", "LAT", "REC", "ascending"]  # 1.00, 9.50, 10.25
    assert run(click, "MAE, QP") == ["REC", "LAT", "MJ-LAT", "descending"]
    assert run(click, "bias, QP") == ["MJ-LAT", "LAT", "REC", "ascending"]  # -1.00 first
    assert run(click, "model") == ["LAT", "MJ-LAT", "REC", "ascending"]


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_fetched_and_nothing_sticks_out(shown, width):
    run = shown(width)
    assert run("return performance.getEntriesByType('resource').filter(one => !one.name.startsWith('data:'))") == []
    assert run("return document.documentElement.scrollWidth") <= width
    wrong = "return [...document.images].filter(one => !one.complete || !one.naturalWidth).length"
    assert run("return document.images.length") == 4 and run(wrong) == 0
