"""Links of the documentation lead to files and headings that are there, and nothing is left out of the lists."""

import os
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.blocks import PAGES, read_page

pytestmark = pytest.mark.docs
MORE = [path.relative_to(ROOT) for path in ROOT.glob("*.md") if path.relative_to(ROOT) not in PAGES]


@pytest.mark.parametrize("path", [*PAGES, *MORE], ids=str)
def test_links_lead_to_what_is_there(path):
    for line, link in read_page(path).links:
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        found = Path(os.path.normpath(path.parent / target)) if target else path
        assert (ROOT / found).exists(), f"{path}:{line}: there is no {found}"
        if anchor and found.suffix == ".md":
            assert anchor in read_page(found).anchors, f"{path}:{line}: {found} has no heading #{anchor}"


def test_every_page_is_in_the_list_of_pages():
    listed = {link.partition("#")[0] for _, link in read_page(Path("docs/README.md")).links}
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"} <= listed
