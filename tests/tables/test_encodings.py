"""Files whose encoding is guessed."""

import json
from pathlib import Path

import pytest

from kfp_bert_components.errors import UserError
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


# Lines as they are written in East Asian languages, some with English words among them.
SENTENCES = {
    "cp949": "배송이 정말 빨라서 좋았습니다.|화면이 어둡고 소리가 작아서 실망했어요 ㅠㅠ|HTML을 고치니 오류가 사라졌다",
    "cp932": "配送が早くて良かったです。|画面が暗くて、音も小さいのでがっかりしました|HTMLを直したらエラーが消えた",
    "euc_jp": "配送が早くて良かったです。|画面が暗くて、音も小さいのでがっかりしました|HTMLを直したらエラーが消えた",
    "gb18030": "送货很快，质量也不错，下次还会来。|画面太暗，声音又小，让人失望|重新安装HTML和CSS以后，错误就没有了",
    "big5": "送貨很快，品質也不錯，下次還會來。|畫面太暗，聲音又小，讓人失望|重新安裝HTML和CSS以後，錯誤就沒有了",
}
LABELS = {"cp949": "긍정", "cp932": "良い", "euc_jp": "良い", "gb18030": "好的", "big5": "好的"}


def east_asian(codec: str, size: int) -> list[str]:
    """Lines of about so many bytes, each different."""
    sentences = SENTENCES[codec].split("|")
    count = size // (len("".join(sentences).encode(codec)) // len(sentences) + 12)
    return [f"{sentences[i % len(sentences)]} {i:05}" for i in range(count)]


def read(path: Path) -> tuple[str, list[str], list[str]]:
    """The encoding, the texts and the labels of a file."""
    columns = [Column("text", "text", "text_column"), Column("label", "label", "label_column")]
    facts, batches = open_table(TableFile(path, path.name), columns, TableSettings())
    cells = [batch.cells for batch in batches]
    texts, labels = ([one for cell in cells for one in cell[name].to_pylist()] for name in ("text", "label"))
    return facts.encoding, texts, labels


@pytest.mark.parametrize("codec", SENTENCES)
@pytest.mark.parametrize(("size", "shift"), [(300, 0), (20_000, 0), (270_000, 0), (270_000, 1)])
def test_east_asian_files_of_any_size_are_read_in_their_encoding(codec: str, size: int, shift: int, tmp_path: Path):
    texts = east_asian(codec, size)
    texts[0] = "x" * shift + texts[0]  # so that bytes of one place are the first of a character or the second
    lines = ["text,label", *(f"{text},{LABELS[codec]}" for text in texts)]
    (tmp_path / "a.csv").write_bytes("\n".join(lines).encode(codec))
    assert read(tmp_path / "a.csv") == (codec, texts, [LABELS[codec]] * len(texts))


@pytest.mark.parametrize("codec", ["cp949", "gb18030"])
def test_a_document_on_one_line_is_read_in_its_encoding(codec: str, tmp_path: Path):
    texts = east_asian(codec, 270_000)
    rows = [{"text": text, "label": LABELS[codec]} for text in texts]
    for shift in ("", " "):
        (tmp_path / "a.json").write_bytes((shift + json.dumps(rows, ensure_ascii=False)).encode(codec))
        assert read(tmp_path / "a.json")[:2] == (codec, texts)


@pytest.mark.parametrize("codec", SENTENCES)
def test_a_damaged_character_costs_only_itself(codec: str, tmp_path: Path):
    texts = east_asian(codec, 20_000)
    damaged = "\n".join(["text,label", *(f"{text},{LABELS[codec]}" for text in texts)]).encode(codec)
    (tmp_path / "a.csv").write_bytes(damaged.replace(b" 00007,", b" \x81\xff 00007,"))
    encoding, found, _ = read(tmp_path / "a.csv")
    assert encoding == codec and [text for text in found if "\ufffd" not in text] == texts[:7] + texts[8:]


# Words that are in no list of frequent characters or letters, and bytes that stand for nothing in their encoding.
WORDS = {
    "cp949": ("환불 요청|배송 문의|결제 취소", b"\xff\xff"),
    "gb18030": ("退款申请|订单查询|支付失败", b"\xff\xff"),
    "big5": ("退款申請|訂單查詢|支付失敗", b"\xff\xff"),
    "cp932": ("返金申請|注文照会|会員退会", b"\x81\xff"),
    "euc_jp": ("返金申請|注文照会|会員退会", b"\xff\xff"),
    "cp1251": ("возврат денег|заказ не пришёл|ошибка оплаты", b"\x98"),
    "cp1252": ("déjà commandé|reçu trop tôt|livré à côté", b"\x81"),
}


@pytest.mark.parametrize("codec", WORDS)
def test_a_damaged_line_does_not_change_what_the_others_are_read_as(codec: str, tmp_path: Path):
    words, damage = WORDS[codec]
    texts = [f"{words.split('|')[i % 3]} {i:03}" for i in range(90)]
    lines = [f"{text},{'yes' if i % 2 else 'no'}".encode(codec) for i, text in enumerate(texts)]
    for damaged in ([], [7], [7, 40, 41, 80]):
        broken = [line.replace(b" ", b" " + damage, 1) if i in damaged else line for i, line in enumerate(lines)]
        (tmp_path / "a.csv").write_bytes(b"\n".join([b"text,label", *broken]))
        encoding, found, _ = read(tmp_path / "a.csv")
        assert encoding == codec
        assert [text for text in found if "\ufffd" not in text] == [t for i, t in enumerate(texts) if i not in damaged]


@pytest.mark.parametrize(
    ("codec", "size"),
    [
        ("iso2022_jp", 300),
        ("iso2022_jp", 270_000),
        ("iso2022_jp_ext", 300),
        ("iso2022_kr", 300),
        ("hz", 300),
        ("utf_7", 300),
    ],
)
def test_letters_that_are_written_as_ascii_bytes_are_read_as_letters(codec: str, size: int, tmp_path: Path):
    language = {"hz": "gb18030", "iso2022_kr": "cp949", "utf_7": "cp949"}.get(codec, "euc_jp")
    label, texts = LABELS[language], east_asian(language, size)
    if codec == "iso2022_jp_ext":
        texts = [f"ﾃｽﾄ {text}" for text in texts]
    lines = ["text,label", *(f"{text},{label}" for text in texts)]
    (tmp_path / "a.csv").write_bytes("\n".join(lines).encode(codec))
    assert read(tmp_path / "a.csv") == (codec, texts, [label] * len(texts))


def test_escape_sequences_late_in_a_file_are_found(tmp_path: Path):
    texts = [*(f"a plain text {i}" for i in range(20_000)), *east_asian("euc_jp", 300)]
    (tmp_path / "a.csv").write_bytes("\n".join(["text,label", *(f"{text},a" for text in texts)]).encode("iso2022_jp"))
    assert read(tmp_path / "a.csv")[:2] == ("iso2022_jp", texts)


def test_escape_sequences_that_can_not_be_read_are_refused(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(b"text,label\n\x1b$)A\x0e1234\x0f,a\n" * 9)
    with pytest.raises(UserError, match="has escape sequences of ISO 2022 that can't be read: write it as UTF-8"):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize(
    "text", ["C++ and C", "+82101234567-", "AB+AAA-", "a+box-", "~{foo~}", "(format t ~{~a~})", "\x1b[31mred\x1b[0m"]
)
def test_plain_text_is_not_taken_for_letters_of_seven_bits(text: str, tmp_path: Path):
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *[f"{text},a"] * 50]))
    assert read(tmp_path / "a.csv") == ("utf-8", [text] * 50, ["a"] * 50)


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "line", ["가격이 좋아요, 정말", "배송이 너무 느려요", "配送が早くて良かったです", "送货很快质量也不错" * 20]
)
def test_utf_16_without_a_mark_is_found_in_scripts_that_have_few_nuls(codec: str, line: str, tmp_path: Path):
    texts = [f"{line} {i}" for i in range(20)]
    path = tmp_path / "a.csv"
    path.write_bytes("\n".join(["text,label", *(f'"{text}",좋음' for text in texts)]).encode(codec))
    assert read(path)[:2] == (codec, texts)
    for row in ("row {:04} \0,a", "row {:04}\0,a"):  # NULs at odd places
        path.write_text("\n".join(["text,label", *(row.format(i) for i in range(60))]))
        with pytest.raises(UserError, match="binary"):
            read(path)


@pytest.mark.parametrize("first", ["utf-8", "cp949"])
def test_rows_of_two_encodings_in_one_file_are_not_both_read_as_a_third(first: str, tmp_path: Path):
    second = "cp949" if first == "utf-8" else "utf-8"
    texts, path = [f"배송이 정말 빨라서 좋았어요 {i}" for i in range(30)], tmp_path / "a.csv"
    lines = "".join(f"{text},긍정\n" for text in texts)
    path.write_bytes(("text,label\n" + lines).encode(first) + lines.encode(second))
    assert read(path) == ("utf-8", texts, ["긍정"] * 30)
    columns = [Column("text", "text", "text_column"), Column("label", "label", "label_column")]
    _, batches = open_table(TableFile(path, path.name), columns, TableSettings())
    faults = [fault for batch in batches for fault in batch.faults]
    assert [fault.reason for fault in faults] == ["the row has bytes that are not UTF-8"] * 30
    assert faults[0].row == (32 if first == "utf-8" else 2)


@pytest.mark.parametrize(
    ("given", "written", "text"),
    [
        ("euc-kr", "cp949", "똠방각하 뷁"),
        ("ks_c_5601-1987", "cp949", "햏햏 웃겨요"),
        ("gb2312", "gb18030", "朱镕基，你好"),
        ("shift_jis", "cp932", "①髙橋さん"),
        ("utf-16", "utf-16-le", "가격이 좋아요"),
        ("utf-16", "utf-16-be", "가격이 좋아요"),
        ("utf-16", "utf-16", "가격이 좋아요"),
        ("utf-16-le", "utf-16", "가격이 좋아요"),
        ("utf-32", "utf-32-le", "가격이 좋아요"),
        ("utf-8", "utf-8-sig", "가격이 좋아요"),
    ],
)
def test_the_name_that_people_give_an_encoding_is_enough(given: str, written: str, text: str, tmp_path: Path):
    (tmp_path / "a.json").write_bytes(json.dumps([{"text": text, "label": "a"}], ensure_ascii=False).encode(written))
    (tmp_path / "a.csv").write_bytes(f"text,label\n{text},a\n".encode(written))
    columns = [Column("text", "text", "text_column"), Column("label", "label", "label_column")]
    for path in (tmp_path / "a.json", tmp_path / "a.csv"):
        _, batches = open_table(TableFile(path, path.name), columns, TableSettings(encoding=given))
        assert [one for batch in batches for one in batch.cells["text"].to_pylist()] == [text]


def test_a_file_that_ends_within_a_character_of_utf_8_is_not_utf_8(tmp_path: Path):
    lines = ["text,label", *(f"text {i},{'yes' if i % 2 else 'no'}" for i in range(20)), "tea,café"]
    (tmp_path / "a.csv").write_bytes("\n".join(lines).encode("cp1252"))
    encoding, texts, labels = read(tmp_path / "a.csv")
    assert (encoding, texts[-1], labels[-1]) == ("cp1252", "tea", "café")
