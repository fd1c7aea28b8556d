"""The pages for people: every link leads somewhere, the README stays short, versions agree."""

import ast
import re
from pathlib import Path

import pytest
from conftest import PROJECT

import common
from common.models import conversion
from common.models.autoencoder import TARGETS, autoencoder_spec
from common.models.registry import get_model, list_models

PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"), PROJECT / "pretrained" / "README.md"])


def anchors(page):
    """The anchors of a page's headings, as forges make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match("https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{target}: no such file"
        assert not anchor or anchor in anchors(file), f"{target}: no such heading"


def test_pages_that_the_programs_name_exist():
    for file in [*PROJECT.glob("*.py"), *PROJECT.glob("common/**/*.py"), *PROJECT.glob("benchmarks/*.py")]:
        for name in re.findall(r"\bdocs/[\w/-]+\.md\b", file.read_text()):
            assert (PROJECT / name).is_file(), f"{file}: {name}"


def test_the_first_page_is_short_and_knows_every_page():
    text = (PROJECT / "README.md").read_text()
    assert text.count("\n") <= 120
    for page in PROJECT.glob("docs/*.md"):
        assert f"(docs/{page.name})" in text, page.name


def test_each_model_has_a_card_with_the_figure_of_its_script():
    specs = [*map(get_model, list_models()), *(autoencoder_spec(target) for target in TARGETS)]
    for spec in specs:
        doc = ast.get_docstring(ast.parse(Path(spec.script).read_text()))
        figure = re.search(r"(^    .*\n)+", f"{doc}\n", re.MULTILINE)[0]
        assert figure in conversion.page(spec.name), spec.name
        assert f"{spec.weights.format(jnd=1)}`" in conversion.page(spec.name)
    text = (PROJECT / "README.md").read_text()
    assert all(f"(docs/models/{page.name})" in text for page in PROJECT.glob("docs/models/*.md"))


def test_versions_agree():
    assert re.fullmatch(r"\d+\.\d+\.\d+", common.__version__)
    assert re.findall(r"^## (\S+)", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == common.__version__
    assert f"\nversion: {common.__version__}\n" in (PROJECT / "CITATION.cff").read_text()
