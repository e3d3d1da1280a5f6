"""A message to people, in bounded time: whether it arrives changes nothing else."""

import re
import threading
from urllib.parse import urlsplit

VARIABLE = "KFP_BERT_WEBHOOK"
_SECONDS = 10.0
_MOST = 3000  # characters; Google Chat takes 4,096
# What calls people or hides an address in a chat: <!channel>, <https://a|b>, @all. Names and labels come from data.
_BRACKETS = str.maketrans("<>", "‹›")
_CALL = re.compile(r"(?<!\S)@(?=\w)")


def tell(address: str, text: str, seconds: float = _SECONDS) -> str:
    """Post {"text": ...} to a webhook, as Slack, Mattermost, Google Chat and others take it.

    Args:
        address: http:// or https:// address of the webhook. Who knows it can write there, so it is shown nowhere.
        text: The message; cut after 3,000 characters. `<` and `>` become ‹ and ›, and a space of no width comes after
            an @ that begins a word, so that nothing in it calls people of the chat or hides an address.
        seconds: How long it may take, all in all.

    Returns:
        A sentence that says whether it was taken. What goes wrong is said there and raised nowhere.
    """
    try:
        parts = urlsplit(address)
        host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
        wrong = parts.scheme not in ("http", "https") or not host
    except ValueError:
        wrong = True
    if wrong:
        return "Nobody was told: the webhook's address must begin with https:// or http:// and name a host."
    text = _CALL.sub("@\u200b", text.translate(_BRACKETS))[:_MOST]
    said: list[str] = []
    # A thread, because a time limit of a socket holds for one packet, and a slow server can send many.
    thread = threading.Thread(target=lambda: said.append(_post(address, text, seconds)), daemon=True)
    thread.start()
    thread.join(seconds)
    problem = said[0] if said else f"no answer within {seconds:g} s"
    return f"Nobody was told: the webhook at {host} failed ({problem})." if problem else f"Told the webhook at {host}."


def _post(address: str, text: str, seconds: float) -> str:
    """What went wrong, "" if nothing did."""
    try:
        import requests

        # A redirect would be followed with a GET, which says nothing to anybody.
        answer = requests.post(address, json={"text": text}, timeout=2 * seconds, allow_redirects=False)
    except Exception as error:  # its message may have the address
        return type(error).__name__
    return "" if answer.ok and not answer.is_redirect else f"status {answer.status_code}"
