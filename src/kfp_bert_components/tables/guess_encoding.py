"""A guess at the encoding of text that is not UTF-8.

Statistics need more text than the few letters with accents of short lines, and give up on Korean among English words.
So first it is asked whether the frequent characters of an East Asian language are there, and then whether the letters
of one language explain all of them.
"""

import re
from collections.abc import Mapping

# The letters beyond ASCII of languages, by the code page that is tried for them, the likeliest first.
ALPHABETS = {
    "cp1252": (
        "éèàêçâôîûùïëœæüÿ",  # French
        "äöüßé",  # German
        "áéíóúñüç",  # Spanish
        "ãçáéíóêõàâôúü",  # Portuguese
        "àèéìòùîó",  # Italian
        "àçèéíïòóúü",  # Catalan
        "åäöéà",  # Swedish, Finnish
        "æøåéèóòôà",  # Danish, Norwegian
        "áðéíóúýþæö",  # Icelandic
        "ëéïöèüóáêç",  # Dutch
        "äõöü",  # Estonian
    ),
    "cp1254": ("çğıöşüâîû",),  # Turkish
    "cp1250": (
        "ąćęłńóśźż",  # Polish
        "áčďéěíňóřšťúůýž",  # Czech
        "áäčďéíĺľňóôŕšťúýž",  # Slovak
        "áéíóöőúüű",  # Hungarian
        "čćđšž",  # Croatian, Slovene
        "ăâîşţ",  # Romanian
    ),
    "cp1257": ("āčēģīķļņšūž", "ąčęėįšųūž"),  # Latvian, Lithuanian
}
# Frequent characters of languages that have thousands: a third of a text or more, and by chance hardly ever so many.
_HIRAGANA = "".join(map(chr, range(0x3041, 0x3094)))
FREQUENT = {
    "cp949": (
        "이다는에의가을고하지로은를도서한대사기인시아리어나자그있해들수니것보만게정과와라일부면었습였전스으원년적장성"
        "경상제화주여중요된구위동오유안실선행연세공당비때소되방관신계용무마모생물학분개통미회재같문명야내음말려민진심"
        "역했각후영데트치더최입도네천금초님할본못품질좋맛별추"
    ),
    "cp932": _HIRAGANA,
    "euc_jp": _HIRAGANA,
    "gb18030": (
        "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子得于着下自之年过发后作里用道行所然"
        "家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日意无力它与长把机"
        "十民第公此已使情明性知全三又关点正业外将两高间由问很最重并物手应向头文体美相见新产或果话合回特代内信表给老位"
        "次度门先通教声提员解水"
    ),
    "big5": (
        "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子得於著下自之年過發後作裡用道行所然"
        "家種事成方多經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實日意無力它與長把機"
        "十民第公此已使情明性知全三又關點正業外將兩高間由問很最重並物手應向頭文體美相見新產或果話合回特代內信表給老位"
        "次度門先通教聲提員解水"
    ),
}
# Codecs that write other letters as ASCII bytes, by what their texts have.
SEVEN_BIT = {
    b"\x1b$": ("iso2022_jp", "iso2022_jp_ext", "iso2022_jp_2", "iso2022_kr"),
    b"~{": ("hz",),
    b"+": ("utf_7",),
}
# What is tried by statistics: others are hardly ever met, and explain anything.
_OTHERS = [f"cp125{number}" for number in range(9)]
_OTHERS += ["cp949", "cp932", "euc_jp", "gb18030", "big5", "cp874", "koi8_r", "koi8_u", "cp866", "cp850", "mac_roman"]
# The share of lines that may be damaged in a text whose encoding is guessed.
_MOST_DAMAGED = 0.05
_SYMBOL_IN_WORD = re.compile(r"[^\W\d_][¡-©«-¯±-¶¸-¿][^\W\d_]")


def guess_encoding(odd: bytes) -> str:
    """The likeliest codec of some lines, all of which have bytes beyond ASCII."""
    decoded = odd.decode("utf-8", errors="replace")
    broken, whole = decoded.count("\ufffd"), sum(character > "\x7f" for character in decoded)
    if whole - broken > 9 * broken or _has_lines_of_utf_8(decoded):
        return "utf-8"  # UTF-8 with a few damaged rows, or a file of another encoding joined to it
    if codec := _east_asian(odd):
        return codec
    damaged = {codec: _damaged_lines(odd, codec) for codec in {*ALPHABETS, *_OTHERS}}
    for codec, alphabets in ALPHABETS.items():
        letters = _letters(_without(odd, damaged[codec]), codec)
        if letters is not None and any(_explains(alphabet, letters) for alphabet in alphabets):
            return codec
    # A few accents among plain letters: too little for statistics, and nearly always Windows.
    western = _without(odd, damaged["cp1252"])
    if _letters(western, "cp1252") is not None and sum(byte > 127 for byte in western) < max(20, 0.06 * len(western)):
        return "cp1252"
    return _by_statistics(odd, damaged)


def _by_statistics(odd: bytes, damaged: Mapping[str, set[int]]) -> str:
    """The likeliest of many codecs, by the lines that all those can read which can read most of them."""
    from charset_normalizer import from_bytes

    readable = _without(odd, set().union(*(damaged[codec] for codec in _OTHERS)))
    best = from_bytes(readable or odd, cp_isolation=_OTHERS).best()
    if best and best.encoding not in ("ascii", "utf_8"):
        return best.encoding
    return "cp1252" if "\ufffd" not in odd.decode("cp1252", errors="replace") else "latin-1"


def _damaged_lines(odd: bytes, codec: str) -> set[int]:
    """The lines that a codec can't read; none where they are more than a few: then it is not the codec of the text."""
    lines = odd.splitlines()
    found = {number for number, line in enumerate(lines) if "\ufffd" in line.decode(codec, errors="replace")}
    return found if len(found) <= _MOST_DAMAGED * len(lines) else set()


def _without(odd: bytes, damaged: set[int]) -> bytes:
    lines = odd.splitlines(keepends=True)
    return b"".join(line for number, line in enumerate(lines) if number not in damaged) if damaged else odd


def _has_lines_of_utf_8(decoded: str) -> bool:
    """Whether a tenth of the lines, and three or more, are UTF-8 with three letters beyond ASCII: by no chance."""
    lines = decoded.splitlines()
    valid = [line for line in lines if "\ufffd" not in line and sum(c > "\x7f" and c.isalpha() for c in line) > 2]
    return len(valid) >= max(3, len(lines) / 10)


def guess_seven_bit(text: bytes) -> str:
    """The codec of ASCII bytes that stand for other letters; "" where they are what they are."""
    best, most = "", 3  # fewer letters prove nothing
    for codec in (codec for mark, names in SEVEN_BIT.items() if mark in text for codec in names):
        decoded = text.decode(codec, errors="replace")
        letters = sum(character.isalpha() for character in decoded if character > "\x7f")
        if (score := letters - 9 * decoded.count("\ufffd")) > most:
            best, most = codec, score
    return best


def _east_asian(odd: bytes) -> str:
    """The codec in which most letters beyond ASCII are frequent ones; "" where they are less than a third in each."""
    best, most = "", 1 / 3
    for codec, frequent in FREQUENT.items():
        letters = [c for c in odd.decode(codec, errors="replace") if c > "\x7f" and (c.isalpha() or c == "\ufffd")]
        known = sum(map(frequent.__contains__, letters))
        # A few characters may be damaged: any other codec would damage all.
        if known >= 4 and known > most * len(letters) and 10 * letters.count("\ufffd") <= len(letters):
            best, most = codec, known / len(letters)
    return best


def _letters(odd: bytes, codec: str) -> str | None:
    """The letters beyond ASCII in a codec; None where they can't be those of a language with Latin letters."""
    text = odd.decode(codec, errors="replace").lower()
    words = [word for word in re.findall(r"[^\W\d_]+", text) if not word.isascii()]
    without_ascii = sum(len(word) > 2 and min(word) > "\x7f" for word in words)
    if "\ufffd" in text or _SYMBOL_IN_WORD.search(text) or 5 * without_ascii > len(words):
        return None
    return "".join(c for word in words for c in word if c > "\x7f" and c not in "ªº")


def _explains(alphabet: str, letters: str) -> bool:
    return sum(letter in alphabet for letter in letters) >= 0.97 * len(letters)
