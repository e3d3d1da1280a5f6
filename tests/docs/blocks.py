"""The code blocks and commands of the documentation, and what kind each is of."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt

from tests.conftest import ROOT

PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in ("README*.md", "docs/*.md", "component_specs/**/README.md", "examples/*.md")
    for path in ROOT.glob(pattern)
)
_MARKER = re.compile(r"<!-- docs: (run|not run: .{10,}) -->")


@dataclass(frozen=True)
class Block:
    """A code block; an indented one has no language and is taken for a shell's.

    Attributes:
        marker: What the comment in front of it says: "run", "not run: why", or "".
    """

    page: Path
    line: int
    language: str
    text: str
    marker: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass
class Page:
    """What a page holds that a reader may run or follow."""

    path: Path
    blocks: list[Block] = field(default_factory=list)
    inline: list[tuple[int, str]] = field(default_factory=list)
    links: list[tuple[int, str]] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)


def read_page(path: Path) -> Page:
    """The blocks, code in sentences, links and anchors of a page, which is named by its path in the repository."""
    page, marker, heading = Page(path), "", False
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse((ROOT / path).read_text(encoding="utf-8")):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "html_block" and (found := _MARKER.search(token.content)):
            marker = found[1]
        elif token.type in ("fence", "code_block"):
            language = token.info.split(" ")[0] if token.type == "fence" else "sh"
            page.blocks.append(Block(path, line, language, token.content, marker))
            marker = ""
        heading = token.type == "heading_open" or (heading and token.type == "inline")
        for child in token.children or []:
            if child.type == "code_inline":
                page.inline.append((line, child.content))
            if child.type in ("link_open", "image"):
                page.links.append((line, str(child.attrGet("href") or child.attrGet("src"))))
        if heading and token.type == "inline":
            page.anchors.add(_slug("".join(one.content for one in token.children or [])))
    return page


def _slug(title: str) -> str:
    """The anchor that git hosts give a heading."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
