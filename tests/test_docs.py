"""The pages for people: every link leads somewhere, the README stays short, versions agree."""

import re

import pytest
from conftest import PROJECT

import common

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


def test_versions_agree():
    assert re.fullmatch(r"\d+\.\d+\.\d+", common.__version__)
    assert re.findall(r"^## (\S+)", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == common.__version__
    assert f"\nversion: {common.__version__}\n" in (PROJECT / "CITATION.cff").read_text()
