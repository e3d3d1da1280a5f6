"""The learning rate of each step."""


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear warmup from 0 to `peak`, then linear decay to 0, as in Devlin et al. 2019.

    Args:
        step: Number of the step, from 0.
        steps: Number of steps in the whole run.
        peak: The highest rate.
        warmup: Share of the steps over which the rate rises.

    Returns:
        The rate of this step: the same that transformers' `get_linear_schedule_with_warmup` gives.
    """
    rising = int(steps * warmup + 0.5)
    if step < rising:
        return peak * step / rising
    return peak * max(0, steps - step) / max(1, steps - rising)
