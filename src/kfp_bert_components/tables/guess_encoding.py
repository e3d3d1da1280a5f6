"""A guess at the encoding of text that is not UTF-8.

Statistics need more text than the few letters with accents of short lines. So first it is asked whether the letters of
one language explain all of them.
"""

import re

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
# What is tried by statistics: others are hardly ever met, and explain anything.
_OTHERS = [f"cp125{number}" for number in range(9)]
_OTHERS += ["cp949", "cp932", "euc_jp", "gb18030", "big5", "cp874", "koi8_r", "koi8_u", "cp866", "cp850", "mac_roman"]
_SYMBOL_IN_WORD = re.compile(r"[^\W\d_][¡-©«-¯±-¶¸-¿][^\W\d_]")


def guess_encoding(odd: bytes) -> str:
    """The likeliest codec of some lines, all of which have bytes beyond ASCII."""
    decoded = odd.decode("utf-8", errors="replace")
    broken, whole = decoded.count("\ufffd"), sum(character > "\x7f" for character in decoded)
    if whole - broken > 9 * broken:
        return "utf-8"  # UTF-8 with a few damaged rows
    for codec, alphabets in ALPHABETS.items():
        letters = _letters(odd, codec)
        if letters is not None and any(_explains(alphabet, letters) for alphabet in alphabets):
            return codec
    # A few accents among plain letters: too little for statistics, and nearly always Windows.
    if _letters(odd, "cp1252") is not None and sum(byte > 127 for byte in odd) < max(20, 0.06 * len(odd)):
        return "cp1252"
    from charset_normalizer import from_bytes

    best = from_bytes(odd, cp_isolation=_OTHERS).best()
    western = "\ufffd" not in odd.decode("cp1252", errors="replace")
    return best.encoding if best and best.encoding not in ("ascii", "utf_8") else "cp1252" if western else "latin-1"


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
