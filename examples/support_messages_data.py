r"""Made-up messages to a shop's support team, for trials: eight categories, and a channel and a plan for each message.

    python support_messages_data.py messages.csv
    python support_messages_data.py more.csv --seed 1
    python support_messages_data.py bad-batch.csv --seed 2 --wrong 0.5

The last one has wrong labels in half of its rows: a batch that no model should learn from.
"""

import argparse
import csv
import random
import re
from pathlib import Path

# What people want, by category. Words in braces are filled in; most of these words occur in several categories.
WANTS = {
    "billing": [
        "I was charged twice for {thing}",
        "the invoice for {when} shows {money} too much",
        "why is there a fee of {money} on my card",
        "please send the invoice for order {order} to {person}",
        "my card was declined, but {money} are gone from the account",
        "the price of {thing} on the invoice is not the one in the shop",
    ],
    "refund": [
        "I want my money back for {thing}",
        "when do I get the {money} back for order {order}",
        "you promised a refund {when}, and nothing came",
        "{person} returned {thing} {when}, where is the money",
        "please refund order {order} to my card",
        "the refund for {thing} is {money} short",
    ],
    "delivery": [
        "where is my parcel, order {order}",
        "{thing} should have arrived {when}",
        "the courier left {thing} with {person}, whom I do not know",
        "tracking of order {order} has said the same since {when}",
        "can you deliver {thing} to {person} instead",
        "half of order {order} is missing in the parcel",
    ],
    "returns": [
        "how do I send {thing} back",
        "{thing} does not fit, I need a label to return it",
        "I ordered {thing} by mistake, can {person} bring it back",
        "the return label for order {order} does not print",
        "until when can I return {thing}, it came {when}",
        "you sent {thing} back to {person}, but I returned it to you",
    ],
    "login": [
        "I cannot log in since {when}",
        "the code for my password never arrives",
        "{person} locked my account, please open it",
        "it says wrong password, but I changed it {when}",
        "after the update I have to log in for each order",
        "I have a new number and get no code for the account",
    ],
    "defect": [
        "{thing} broke {when}",
        "{thing} does not switch on",
        "there is a crack in {thing}, order {order}",
        "{thing} stopped working, {person} tried everything",
        "the app shows an error when I open order {order}",
        "{thing} makes a noise that it did not make {when}",
    ],
    "cancellation": [
        "please cancel order {order}",
        "I want to end my subscription {when}",
        "stop the order for {thing}, {person} bought one already",
        "how do I cancel before {when}",
        "cancel my account and all that is open",
        "I no longer want {thing}, please do not send it",
    ],
    "praise": [
        "{thing} is even better than I thought",
        "thank {person} for the quick help {when}",
        "order {order} came a day early, great",
        "just wanted to say that {thing} works very well",
        "best service I have had, {person} was lovely",
        "I will order {thing} again, thank you",
    ],
}
FILL = {
    "thing": "the lamp|my kettle|the blue jacket|the headphones|a keyboard|the desk|two chairs|the camera|the tent"
    "|my running shoes|the coffee machine|a phone case|the backpack|the heater|the tablet|a set of knives|the drill"
    "|the baby monitor|my electric toothbrush|the bookshelf",
    "when": "yesterday|last week|on Monday|on Tuesday|on Friday|this morning|two days ago|in March|in June|in October"
    "|three weeks ago|at the weekend|last night|a month ago",
    "person": "my neighbour|my wife|my husband|my colleague|Ms Park|Mr Lindner|Sofia|Tom|Jiwoo|your agent|my daughter"
    "|the woman on the phone|a man named Ali",
    "opening": "Hello|Hi|Dear team|Good morning|Good evening|To whom it may concern|Hi there|Hello again",
    "aside": "I have been a customer for {number} years|this is message number {number}|I tried the app first"
    "|{person} told me to write|I need it by {soon}|I have looked at all your pages|I am writing from {city}"
    "|I waited {number} minutes on the phone|sorry for the long message|maybe you can help",
    "name": "Jiwoo|Sofia|Tom|Minho|Ada|R. Lindner|S. Park|Yuna|Omar|Grace|Pedro|Ines",
    "soon": "Friday|tomorrow|the weekend|the end of the month|my birthday|Monday morning|next week",
    "city": "Busan|Seoul|Daegu|Hamburg|Lyon|Leeds|Porto|Graz|Turin|Utrecht|Malmo|Gdansk",
    "closing": "Thanks, {name}|Regards|Best, a customer from {city}|Please answer soon|Thank you|Yours, {name}",
}
CHANNELS = {"email": 0.5, "chat": 0.35, "form": 0.15}
PLANS = {"free": 0.6, "plus": 0.3, "business": 0.1}
SEED, ROWS = 0, 4000


def message(rng: random.Random, category: str, channel: str) -> str:
    """A message: letters are long and polite, chats short, in small letters and with slips."""
    want = rng.choice(WANTS[category])
    if channel == "chat":
        words = filled(rng, rng.choice([want, want, f"hi, {want}", f"{want}?? {{aside}}"])).lower()
        slip = rng.randrange(len(words) - 1)
        return words[:slip] + words[slip + 1 :] if rng.random() < 0.4 else words
    parts = [want, *rng.sample(FILL["aside"].split("|"), rng.randrange(1, 4))]
    rng.shuffle(parts)
    body = " ".join(f"{part[0].upper()}{part[1:]}." for part in (filled(rng, part) for part in parts))
    return filled(rng, f"{{opening}}, {body} {{closing}}.") if channel == "email" else body


def filled(rng: random.Random, text: str) -> str:
    """A text without braces."""
    while found := re.search(r"\{(\w+)\}", text):
        name = found[1]
        number = {"order": rng.randrange(10_000, 99_999), "money": f"{rng.randrange(3, 400)} euros"}
        number["number"] = rng.randrange(2, 60)
        word = str(number[name]) if name in number else rng.choice(FILL[name].split("|"))
        text = text[: found.start()] + word + text[found.end() :]
    return text


def write(target: Path, rows: int = ROWS, seed: int = SEED, wrong: float = 0.0) -> Path:
    """Write a CSV file with the columns text, category, channel and plan.

    Args:
        target: The file.
        rows: How many.
        seed: Of all random numbers.
        wrong: Share of the rows that get the category of another one, 0 to 1.
    """
    rng = random.Random(seed)
    with target.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "category", "channel", "plan"])
        for _ in range(rows):
            category = rng.choice(list(WANTS))
            (channel,), (plan,) = (rng.choices(list(some), list(some.values())) for some in (CHANNELS, PLANS))
            text = message(rng, category, channel)
            label = rng.choice(list(WANTS)) if rng.random() < wrong else category
            table.writerow([text, label, channel, plan])
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--rows", type=int, default=ROWS, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    parser.add_argument("--wrong", type=float, default=0.0, help="share of wrong labels; default: none")
    given = parser.parse_args()
    write(given.target, given.rows, given.seed, given.wrong)
