"""Arithmetic of traffic splits: whole percentages that add up to 100."""

Split = dict[str, int]


def shared(before: Split, new: str, percent: int) -> Split:
    """The split that gives `percent` to `new` and the rest to the others as before.

    Args:
        before: Split without or with `new`; empty where nothing answers.
        new: The deployed model that gets the share.
        percent: Its share, 1 to 100.

    Returns:
        A split that adds up to 100. All of it is at `new` where nothing else answered before.
    """
    others = {number: share for number, share in before.items() if number != new and share > 0}
    if not others or percent >= 100:
        return {new: 100}
    return {**_scaled(others, 100 - percent), new: percent}


def restored(before: Split, deployed: set[str]) -> Split:
    """`before`, less what is not deployed any more, scaled up to 100 again."""
    left = {number: share for number, share in before.items() if number in deployed}
    return _scaled(left, 100) if left else {}


def _scaled(split: Split, total: int) -> Split:
    """`split` in proportion, adding up to `total`: the largest remainders are rounded up."""
    whole = sum(split.values())
    exact = {number: share * total / whole for number, share in split.items()}
    scaled = {number: int(share) for number, share in exact.items()}
    missing = total - sum(scaled.values())
    for number in sorted(exact, key=lambda number: scaled[number] - exact[number])[:missing]:
        scaled[number] += 1
    return {number: share for number, share in scaled.items() if share}
