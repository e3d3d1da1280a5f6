"""Write the bundled sample: short screenplay lines in six classes, made by a seeded grammar.

All six classes draw on the same names, places, things and deeds, so a bag of words says little: what tells
the classes apart is the order of the words, casing and punctuation, as in a real screenplay.

    python scripts/make_sample_data.py [TARGET.csv]
"""

import csv
import random
import re
import sys
from pathlib import Path

TARGET = Path(__file__).parents[1] / "src/kfp_bert_components/local/sample/screenplay.csv"
SEED = 2024
ROWS = 2_000
NOISE = 0.015  # share of the rows that a tired annotator got wrong

# One symbol a paragraph; alternatives are separated by "|". {x} is an expansion of x, {^x} one with a
# capital, {x:0} and {x:1} the half of x before and after the slash: what they do, and doing it.
GRAMMAR = """
name: Mara|Hale|Ivo|Nadia|Tomas|Ruth|Owen|Lena|Victor|June|Marcus|Elsa|Dario|Petra|Silas|Wanda|Felix|Greta
    |Amos|Clara
role: nurse|detective|waiter|driver|soldier|priest|guard|sailor|clerk|doctor|teacher|boxer|pilot|sheriff|widow
    |barber|judge|porter|singer|farmer
kind: young|tired|drunk|first|second|tall|quiet|nervous|blind|big
place: kitchen|harbor|hallway|garage|chapel|rooftop|cellar|office|market|motel|barn|station|hospital|library
    |tunnel|bridge|warehouse|courtyard|diner|attic|prison|theater|bakery|lighthouse|hangar
thing: door|phone|knife|letter|lamp|suitcase|window|gun|photograph|candle|bottle|radio|key|rope|mirror|coat
    |map|piano|curtain|bucket
time: night|day|dawn|dusk|morning|evening|later|midnight|noon|sunset
how: quietly|slowly|again|alone|together|softly|suddenly|quickly|angrily|gently|barely|outside|inside|nearby
    |forever
where: {side} the {place}
side: in|at|near|behind|outside|inside|across
use: open/opening|close/closing|watch/watching|drop/dropping|hide/hiding|carry/carrying
    |hold/holding|take/taking|break/breaking|lift/lifting|push/pushing|clean/cleaning|ignore/ignoring|kick/kicking|burn/burning
    |find/finding|move/moving|want/wanting|throw/throwing|check/checking
move: run/running|wait/waiting|walk/walking|sleep/sleeping|whisper/whispering|laugh/laughing|smile/smiling
    |kneel/kneeling|sit/sitting|stand/standing|sing/singing|cry/crying|fall/falling|turn/turning
    |listen/listening|shout/shouting|nod/nodding|pray/praying|dance/dancing|tremble/trembling
people: the {role}s|{name} and the {role}|the {kind} {role}s|two {role}s|{name}, {name} and the {role}
do: {use:0} the {thing}|{move:0} {where}|{move:0} {how}|{use:0} the {thing} {where}
doing: {use:1} the {thing}|{move:1} {where}|{move:1} {how}|{use:1} the {thing} {where}

scene_heading: {inside}{spot} - {time}|{inside}{spot} - {time}|{inside}{spot}, {time}
    |{inside}{spot} - {time} ({how})|{inside}{spot} - {pause}
inside: |||INT. |EXT.\u0020
spot: {place}|{place}|{name}'s {place}|{place}, near the {thing}|{kind} {role}'s {place}|{place} with {thing}
    |{place} {where}
pause: continuous|moments later|same|flashback|standing still|moving|falling

action: {^people} {do}.|{^people} {do}. {^beat}.|{^beat}. {^people} {do}.|{^doing}, {people} {do}.
    |{^people} {do} and {do}.|{^where}, {people} {do}.|CLOSE ON the {thing}, {how}.
    |The {thing}. A {kind} {role}. {^time}.|Back to the {place}. {^people} {do}.|{^cutting}: {people} {do}.
    |{name}, {how}, {where}.|{^who}. {^time}.|{^who} {where}. {^who} {how}.
beat: {time}|{place}|{thing}|{how}
cutting: wipe|smash|match|fade

character: {who}|{who}|{who}|{who} (V.O.)|{who} (CONT'D)|{who} ({how})|{who} ({where})
    |{who} ({move:1})|{who} ({time})
who: {name}|{role}|{kind} {role}|{role} {name}|{role} {where}|{name} and the {role}|{role} with {thing}
    |{kind} {role} {where}|{kind} {role}s {where}|two {role}s

dialogue: {^do}, {name}{end}|{^do}, {people}{ask}|{^people} {do}{ask}|{^beat}{ask}|{name}{ask}
    |{name}, {people} {do}.|{^who}{ask}|{^who} and {who}{end}
    |{^doing}, {beat}{ask}|{^doing} and {doing}{ask}|{^time}, {name}. {^where}{end}|{name}, the {thing}{end}
    |The {place}, {name}, {beat}{end}|Cut the {thing}, {name}, and {do}{end}|Back to the {spot}, {name}{end}
    |Fade {how}, {name}, that {time} {where}{end}|{^cutting} the {thing} {where}{ask}
end: .|!|?
ask: ?|!|?!

parenthetical: ({doing})|({how})|(to {name})|(to {name}, {doing})|({how}, {where})|({people} {do})|({where})
    |(to the {kind} {role})|(then, {beat})|({doing}, {doing})|(back to {name})|({beat}, {how})
    |({how}; {doing})|({kind}, {doing})|(to {who})|({who}, {how})

transition: {cut} to {view}:|{cut} to {view}:|dissolve to {view}:|dissolve to {name} {where}:
    |fade in on {view}.|fade out on {view}:|wipe to {time}, {place}:|wipe to the {role} {where}:
    |back to {view}:|fade to {time} on {view}.|{view} dissolves to {view}:|{time}. cut to:|{time}. fade out.
cut: cut|smash cut|match cut|hard cut
view: the {place}|{name}|the {thing}|the {role}s|{time}|{who}
"""

# Shares of the rows, uneven as in real scripts.
SHARES = {
    "scene_heading": 0.16,
    "action": 0.21,
    "character": 0.17,
    "dialogue": 0.20,
    "parenthetical": 0.14,
    "transition": 0.12,
}
CAPITALS = {"scene_heading", "character", "transition"}


def read_grammar() -> dict[str, list[str]]:
    """The alternatives of each symbol."""
    joined = re.sub(r"\n +", "", GRAMMAR)
    pairs = (line.split(": ", 1) for line in joined.splitlines() if line)
    return {symbol: alternatives.split("|") for symbol, alternatives in pairs}


def expand(grammar: dict[str, list[str]], symbol: str, rng: random.Random) -> str:
    """A random expansion of a symbol of the grammar."""

    def fill(slot: re.Match[str]) -> str:
        capital, inner, half = slot.groups()
        text = expand(grammar, inner, rng)
        text = text.split("/")[int(half)] if half else text
        return text[0].upper() + text[1:] if capital else text

    return re.sub(r"{(\^?)(\w+)(?::(\d))?}", fill, rng.choice(grammar[symbol]))


def make_rows() -> list[tuple[str, str]]:
    """The lines and their labels, in a random order."""
    rng = random.Random(SEED)
    grammar = read_grammar()
    rows = []
    for label, share in SHARES.items():
        others = [other for other in SHARES if other != label]
        for _ in range(round(ROWS * share)):
            line = expand(grammar, label, rng)
            line = line.upper() if label in CAPITALS else line
            rows.append((line, rng.choice(others) if rng.random() < NOISE else label))
    rng.shuffle(rows)
    return rows


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["text", "label"])
        writer.writerows(make_rows())
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
