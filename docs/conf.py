"""The site: README, the pages of this folder and the READMEs of the specs, as they are in the repository."""

import re

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.highlighting import lexers

from kfp_bert_components import __version__

project = "kfp-bert-components"
copyright = "the authors of kfp-bert-components, Apache-2.0"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# The source folder is the repository: so links between its pages are the same on the site and on a git host.
root_doc = "docs/README"
include_patterns = ["*.md", "docs/*.md", "component_specs/**README.md", "examples/README.md"]
exclude_patterns = [".*", "benchmarks", "build", "dist", "docker", "scripts", "shared", "src", "tests"]

myst_heading_anchors = 4
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_custom_sections = ["Returns"]  # its text has colons that part no type
default_role = "code"
smartquotes = False  # a sentence of an error is searched for as it was printed
lexers["mermaid"] = TextLexer()

html_theme = "furo"
html_title = f"{project} {version}"
html_extra_path = ["_site"]
html_copy_source = False


def add_menu(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make the menu of the lists of pages in two READMEs: one list a section, its heading above it."""
    if docname not in (root_doc, "component_specs/README"):
        return
    for section in re.split(r"^## ", source[0], flags=re.MULTILINE):
        heading, _, text = section.partition("\n")
        caption = "" if section.lstrip().startswith(("#", "<!--")) else f":caption: {heading}\n"
        pages = re.findall(r"^(?:\||-) \[([^]]+)\]\(([^)#]+)\.md\)", text, flags=re.MULTILINE)
        if pages:
            entries = "\n".join(f"{title} <{page}>" for title, page in pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n{caption}\n{entries}\n```\n"


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_menu)
