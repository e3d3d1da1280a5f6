"""README.ko.md says what README.md says: the same sections, commands, figures, links and names."""

import re

from markdown_it import MarkdownIt

from tests.conftest import ROOT


def sections(name):
    """What must be the same in both languages, a dictionary a section."""
    found = []
    for token in MarkdownIt().enable("table").parse((ROOT / name).read_text()):
        if token.type == "heading_open":
            found.append({"level": token.tag, "blocks": [], "cells": [], "links": [], "names": [], "figures": []})
        section = found[-1]
        if token.type in ("fence", "code_block"):
            section["blocks"].append((token.info, token.content))
        elif token.type in ("list_item_open", "tr_open", "th_open", "td_open"):
            section["cells"].append(token.type)
        for part in token.children or ():
            section["links"] += [part.attrs[key] for key in ("href", "src") if key in part.attrs]
            section["names"] += [part.content] if part.type == "code_inline" else []
            section["figures"] += re.findall(r"\d+(?:[.,]\d+)*", part.content) if part.type == "text" else []
    for section in found:
        for kind in ("links", "names", "figures"):  # another language has another order of words
            section[kind].sort()
    return found


def test_both_readmes_have_the_same_sections_commands_figures_and_links():
    english, korean = sections("README.md"), sections("README.ko.md")
    english[0]["links"].remove("README.ko.md")
    korean[0]["links"].remove("README.md")
    assert [section["level"] for section in korean] == [section["level"] for section in english]
    for theirs, ours in zip(english, korean, strict=True):
        for kind in theirs:
            assert ours[kind] == theirs[kind]
    assert sum(len(section["blocks"]) for section in english) > 10 and english[0]["links"] and english[0]["cells"]
