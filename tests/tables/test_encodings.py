"""Files whose encoding is guessed."""

from pathlib import Path

import pytest

from kfp_bert_components.tables import Column, TableFile, TableSettings, open_table


@pytest.mark.parametrize("text", ["café x", "it’s", "Año nuevo", "£5 only", "naïve café", "à la carte", "€"])
@pytest.mark.parametrize("ascii_rows", [5, 5_000])
def test_a_few_accents_in_a_plain_file_are_windows_1252(text: str, ascii_rows: int, tmp_path: Path):
    path = tmp_path / "a.csv"
    lines = ["text,label", *(f"row {i},ham" for i in range(ascii_rows)), f"{text},spam"]
    path.write_bytes("\n".join(lines).encode("cp1252"))
    columns = [Column("text", "text", "text_column"), Column("label", "label", "label_column")]
    facts, batches = open_table(TableFile(path, path.name), columns, TableSettings())
    texts = [one for batch in batches for one in batch.cells["text"].to_pylist()]
    assert facts.encoding == "cp1252" and len(texts) == ascii_rows + 1 and texts[-1] == text
    assert facts.note == "its encoding is taken for cp1252, a guess (set encoding if letters are wrong)"


LINES = {
    "cp1252": [
        "déjà vu|été à la mer|très fâché|où êtes-vous ?|c'est à côté|élève gêné|ça m'a plu|Noël à Fès|œuvre célèbre",
        "schöne Grüße|über Köln|für Mädchen|müde Füße|größer als früher|Äpfel und Öl|völlig überflüssig",
        "¿Qué pasó?|mañana está cerrado|niño pequeño|canción única|él también|¡qué lástima!|así está",
        "não está à venda|coração|ações rápidas|você é ótimo|maçã e limão|avó e avô|três pães|atenção|péssimo",
        "è così|perché no|città più bella|non c'è più|lunedì sarà|caffè|però è già qui",
        "på väg hem|är det så här?|öl och ål|många små hål|kött och fågel|jättebra|för dyrt|över förväntan",
        "på øen|rødgrød med fløde|æbler og pærer|så dårligt|går på gaden|kød og smør",
        "hyvää päivää|tämä on hyvä|sähköpöytä|älä tee sitä|yötä päivää",
        "það er gott|þetta er ágætt|ég á bíl|góðan daginn|íslenska",
    ],
    "cp1250": [
        "zażółć gęślą jaźń|dziękuję bardzo|już się boję|łódź płynie|świetny produkt|słaba jakość",
        "příliš žluťoučký kůň|děkuji pěkně|špatná kvalita|skvělý výrobek|řeka teče|zboží přišlo včas",
        "árvíztűrő tükörfúrógép|köszönöm szépen|erősen ajánlom|szörnyű volt|ő a legjobb",
    ],
    "cp1254": ["çok güzel|hiç beğenmedim|ürün kötü|ışık yok|iğrenç bir şey|değil mi?"],
    "cp1251": ["очень хорошо|мне не понравилось|быстрая доставка|ужас|спасибо большое|плохое качество|да|нет"],
    "cp949": ["정말 좋아요|별로예요|배송이 빨라요|감사합니다|품질이 나빠요|다시는 안 사요|최고|그저 그래요"],
}


@pytest.mark.parametrize(("codec", "lines"), [(codec, lines) for codec, all_ in LINES.items() for lines in all_])
@pytest.mark.parametrize("times", [1, 50])
def test_short_lines_full_of_accents_are_read_in_their_own_code_page(
    codec: str, lines: str, times: int, tmp_path: Path
):
    wanted = lines.split("|") * times
    path = tmp_path / "a.csv"
    path.write_bytes("\n".join(["text,label", *(f"{text},good" for text in wanted)]).encode(codec))
    columns = [Column("text", "text", "text_column"), Column("label", "label", "label_column")]
    facts, batches = open_table(TableFile(path, path.name), columns, TableSettings())
    assert [one for batch in batches for one in batch.cells["text"].to_pylist()] == wanted
    assert "a guess (set encoding" in facts.note
