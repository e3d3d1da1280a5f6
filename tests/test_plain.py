"""Texts from data and people stay what they are: one line, nothing that a terminal or Markdown obeys."""

import sys
from types import SimpleNamespace

import pytest

from kfp_bert_components.errors import RunError, UserError
from kfp_bert_components.plain import listed, markdown, plain
from kfp_bert_components.progress import print_line, say

EVIL = "a\r\nb\x1b[31mc\x00d\u2028e\u202ef\udc80g\x85h\x9bi"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("café 조용한 \U0001f600 “x”", "café 조용한 \U0001f600 “x”"),
        ("two  spaces\\n stay", "two  spaces\\n stay"),
        (EVIL, "a b\\x1b[31mc\\x00d e\\u202ef\\udc80g h\\x9bi"),
    ],
)
def test_a_text_is_one_line_without_what_cannot_be_seen(text, shown):
    assert plain(text) == shown
    assert str(UserError(text)) == shown


def test_what_explains_a_failed_step_keeps_its_lines():
    assert str(RunError("Traceback:\n  File \x1b\nThe whole log")) == "Traceback:\n  File \\x1b\nThe whole log"


def test_a_line_is_written_in_one_piece(monkeypatch):
    """Or those of two threads mix."""
    written = []
    stream = SimpleNamespace(write=lambda text: written.append(text), flush=lambda: None)
    monkeypatch.setattr(sys, "stdout", stream)
    say("a line")
    print_line("another")
    assert [text for text in written if text] == ["a line\n", "another\n"]


def test_a_line_of_a_log_is_one_line(capsys):
    say(EVIL)
    assert capsys.readouterr().out == plain(EVIL) + "\n"


def test_markdown_shows_a_text_as_it_is():
    assert markdown("a|b\n`c` <d> [e](f) *g* _h_ \\ & ~") == (
        "a\\|b \\`c\\` &lt;d&gt; \\[e\\](f) \\*g\\* \\_h\\_ \\\\ &amp; \\~"
    )


def test_long_lists_of_names_are_cut():
    assert listed(["a", "b"]) == "'a', 'b'"
    assert listed([str(i) for i in range(1003)], 2) == "'0', '1' and 1,001 more"
    assert listed(["two\nlines"]) == "'two lines'"
