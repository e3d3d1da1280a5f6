"""Traffic splits: the percentage of requests for each deployed model, by its id. Whole numbers that sum to 100."""

from collections.abc import Sequence

from kfp_bert_components.errors import UserError

TrafficSplit = dict[str, int]


def check_traffic_steps(steps: Sequence[int]) -> None:
    """UserError unless shares, in percent, ascend to 100."""
    if not steps or steps[-1] != 100 or list(steps) != sorted(set(steps)) or steps[0] < 1:
        raise UserError(f"traffic_steps are {list(steps)}: expected percentages that ascend to 100.")


def split_with(before: TrafficSplit, new: str, percent: int) -> TrafficSplit:
    """The split that gives `percent` to `new`; the others share the rest in the proportions of `before`.

    Args:
        before: The split before; it may contain `new`, and is empty if no model gets requests.
        new: The id of the deployed model that gets the share.
        percent: Its share, 1 to 100.

    Returns:
        A split that sums to 100. If no other model had a share before, `new` gets all of it.
    """
    others = {number: share for number, share in before.items() if number != new and share > 0}
    if not others or percent >= 100:
        return {new: 100}
    return {**_scaled(others, 100 - percent), new: percent}


def beside_others(now: TrafficSplit, ours: TrafficSplit, known: set[str]) -> TrafficSplit:
    """The split in which `ours` share what models of others leave free.

    Args:
        now: The split in force.
        ours: How our models share; it sums to 100, or is empty.
        known: The ids of our models. All others keep the share that they have now.

    Returns:
        A split that sums to 100, or {} where nobody has a share. Where `ours` is empty, others get all.

    Raises:
        UserError: Others have so much that nothing, or too little for each of ours, is left.
    """
    others = {number: share for number, share in now.items() if share and number not in known}
    if not ours:
        return _scaled(others, 100) if others else {}
    free = 100 - sum(others.values())
    if free < len(ours):
        raise UserError(
            f"models that are not this deployment's get {100 - free} % of the traffic ({', '.join(sorted(others))}): "
            "take a share of it from them, give another endpoint, or take_over=True to replace them"
        )
    split = _scaled(ours, free)
    for number in set(ours) - set(split):  # rounded to nothing, but wanted
        split[max(split, key=split.__getitem__)] -= 1
        split[number] = 1
    return {**others, **split}


def restored_split(before: TrafficSplit, deployed: set[str]) -> TrafficSplit:
    """`before` without the models that are not in `deployed`, scaled to sum to 100; {} if none is left."""
    left = {number: share for number, share in before.items() if number in deployed}
    return _scaled(left, 100) if left else {}


def largest_that_fit(now: TrafficSplit, ours: TrafficSplit, known: set[str]) -> TrafficSplit:
    """As many of `ours`, the largest shares first, as others leave at least 1 % each for; {} if they leave nothing.

    Args:
        now: The split in force.
        ours: How our models share.
        known: The ids of our models. All others keep the share that they have now.
    """
    free = 100 - sum(share for number, share in now.items() if number not in known)
    return restored_split(ours, set(sorted(ours, key=ours.__getitem__, reverse=True)[:free]))


def _scaled(split: TrafficSplit, total: int) -> TrafficSplit:
    """`split` in proportion, with the sum `total`: the shares with the largest remainders are rounded up."""
    whole = sum(split.values())
    exact = {number: share * total / whole for number, share in split.items()}
    scaled = {number: int(share) for number, share in exact.items()}
    missing = total - sum(scaled.values())
    for number in sorted(exact, key=lambda number: scaled[number] - exact[number])[:missing]:
        scaled[number] += 1
    return {number: share for number, share in scaled.items() if share}
