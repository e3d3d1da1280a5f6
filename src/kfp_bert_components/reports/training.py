"""The report of a training run: its curves, its data, and what it found hard."""

import base64
import csv
import io
from typing import TYPE_CHECKING, Any

from kfp_bert_components.reports import charts, render

if TYPE_CHECKING:
    import numpy as np
    from markupsafe import Markup

COLOURS = (charts.BLUE, charts.ORANGE, charts.GREEN, charts.RED, charts.GREY)
SUSPECTS = 50  # likely wrong labels that the page shows; the file that it holds has all of them


def render_training(
    *,
    curve: "np.ndarray",
    evaluations: list[dict[str, Any]],
    outcomes: list[str],
    best: tuple[int, int],
    steps_per_epoch: int,
    first_seed: int,
    metric: str,
    lengths: tuple["np.ndarray", "np.ndarray"],
    suspects: list[tuple[str, int, str, str, str, str, float]],
    **facts: Any,
) -> str:
    """The page.

    Args:
        curve: Columns trial, step, loss, learning rate, gradient norm; float [steps, 5].
        evaluations: Dicts of trial, step and metrics, in order.
        outcomes: How each trial ended.
        best: Trial and step of the weights that were kept.
        steps_per_epoch: Steps in one epoch, for the axes.
        first_seed: Seed of the first trial.
        metric: The metric that the run was steered by.
        lengths: Tokens of each row before truncation, of the training and the validation split.
        suspects: File, row, id, text, label, suggested label and its probability, of each row whose label is likely
            wrong, the most suspicious first.
        **facts: What the template shows as it is: settings, note, metrics, labels, longest, hardest, and label_check:
            rows whose labels were checked, and labels that were not; None where no check was asked for.

    Returns:
        HTML that stands alone.
    """
    return render(
        "training.html",
        loss_chart=_loss_chart(curve, evaluations, steps_per_epoch, first_seed),
        metric_chart=_metric_chart(evaluations, steps_per_epoch, first_seed, metric, best),
        rate_chart=_step_chart(curve, 3, steps_per_epoch, first_seed, "learning rate"),
        norm_chart=_step_chart(curve, 4, steps_per_epoch, first_seed, "gradient norm", logarithmic=True),
        length_chart=_length_chart(lengths, facts["settings"]["max_length"]),
        trials=_trials(evaluations, outcomes, first_seed, metric, best),
        evaluations=[_evaluation_row(e, steps_per_epoch, first_seed, best) for e in evaluations],
        cut=[int((part > facts["settings"]["max_length"]).sum()) for part in lengths],
        best_seed=first_seed + best[0],
        best_epoch=f"{best[1] / steps_per_epoch:.3g}",
        metric=_plain(metric),
        suspects=suspects[:SUSPECTS],
        suspects_count=len(suspects),
        suspects_file=_suspects_file(suspects),
        **facts,
    )


def _loss_chart(curve: "np.ndarray", evaluations: list[dict[str, Any]], per_epoch: int, first_seed: int) -> "Markup":
    figure, axes = charts.new_figure()
    trials = sorted({int(trial) for trial in curve[:, 0]})
    for trial in trials:
        colour = COLOURS[trial % len(COLOURS)]
        seed = f" seed {first_seed + trial}" if len(trials) > 1 else ""
        steps = curve[curve[:, 0] == trial]
        axes.plot(steps[:, 1] / per_epoch, _smooth(steps[:, 2]), color=colour, linewidth=1, label=f"training{seed}")
        points = [e for e in evaluations if e["trial"] == trial]
        axes.plot(
            [e["step"] / per_epoch for e in points],
            [e["metrics"]["loss"] for e in points],
            color=colour,
            linestyle="--",
            marker="o",
            markersize=3,
            clip_on=False,
            label=f"validation{seed}",
        )
    axes.set(xlabel="epoch", ylabel="cross entropy", ylim=(0, None))
    axes.grid(axis="y")
    axes.legend(ncols=2 if len(trials) > 2 else 1, fontsize=8)
    return charts.svg(figure, "Training and validation loss by epoch")


def _metric_chart(
    evaluations: list[dict[str, Any]], per_epoch: int, first_seed: int, metric: str, best: tuple[int, int]
) -> "Markup":
    figure, axes = charts.new_figure()
    trials = sorted({e["trial"] for e in evaluations})
    names = list(dict.fromkeys(["accuracy", "macro_f1", metric] if len(trials) == 1 else [metric]))
    for trial in trials:
        points = [e for e in evaluations if e["trial"] == trial]
        for number, name in enumerate(n for n in names if n != "loss" or len(names) == 1):
            label = _plain(name) if len(trials) == 1 else f"{_plain(name)} seed {first_seed + trial}"
            axes.plot(
                [e["step"] / per_epoch for e in points],
                [e["metrics"].get(name, float("nan")) for e in points],
                color=COLOURS[(trial + number) % len(COLOURS)],
                marker="o",
                markersize=3,
                label=label,
            )
    kept = next(e for e in evaluations if (e["trial"], e["step"]) == best)
    shown = metric if (metric in names and metric != "loss") or len(names) == 1 else names[0]
    if kept["metrics"].get(shown) is not None:
        axes.plot(
            best[1] / per_epoch,
            kept["metrics"][shown],
            marker="o",
            markersize=9,
            markerfacecolor="none",
            markeredgecolor=charts.INK,
            linestyle="",
            label="kept",
        )
    axes.set(xlabel="epoch", ylabel="on the validation rows")
    axes.grid(axis="y")
    axes.legend(fontsize=8)
    return charts.svg(figure, "Metrics on the validation rows by epoch")


def _step_chart(
    curve: "np.ndarray", column: int, per_epoch: int, first_seed: int, name: str, logarithmic: bool = False
) -> "Markup":
    figure, axes = charts.new_figure(height=2.2)
    for trial in sorted({int(trial) for trial in curve[:, 0]}):
        steps = curve[curve[:, 0] == trial]
        axes.plot(
            steps[:, 1] / per_epoch,
            steps[:, column],
            color=COLOURS[trial % len(COLOURS)],
            linewidth=1,
            label=f"seed {first_seed + trial}",
        )
    axes.set(xlabel="epoch", ylabel=name)
    if logarithmic:
        charts.logarithmic(axes.yaxis)
    else:
        axes.set_ylim(0, None)
    axes.grid(axis="y")
    return charts.svg(figure, f"{name} at each step")


def _length_chart(lengths: tuple["np.ndarray", "np.ndarray"], max_length: int) -> "Markup":
    import numpy as np

    figure, axes = charts.new_figure(height=2.2)
    longest = max(int(part.max()) for part in lengths)
    edges = np.linspace(0, longest + 1, min(40, longest + 2))
    axes.hist(lengths[0], edges, color=charts.BLUE, label="training")
    if longest >= max_length:
        charts.line_at(axes, max_length, "max_length")
    axes.set(xlabel="tokens", ylabel="training rows")
    if longest > 8 * np.median(lengths[0]):
        charts.logarithmic(axes.yaxis)
    return charts.svg(figure, "Tokens in each training row")


def _smooth(values: "np.ndarray") -> "np.ndarray":
    """A running mean over the last fiftieth of the curve."""
    import numpy as np

    width = max(1, len(values) // 50)
    sums = np.cumsum(np.concatenate([np.zeros(1), values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - width)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _trials(
    evaluations: list[dict[str, Any]], outcomes: list[str], first_seed: int, metric: str, best: tuple[int, int]
) -> list[tuple[int, str, float, bool]]:
    """Seed, how it ended, its best value, and whether its weights were kept."""
    rows = []
    for trial, outcome in enumerate(outcomes):
        values = [e["metrics"].get(metric, float("nan")) for e in evaluations if e["trial"] == trial]
        value = min(values) if metric == "loss" else max(values)
        rows.append((first_seed + trial, outcome, value, trial == best[0]))
    return rows


def _evaluation_row(
    evaluation: dict[str, Any], per_epoch: int, first_seed: int, best: tuple[int, int]
) -> tuple[int, str, int, dict[str, float], bool]:
    trial, step = evaluation["trial"], evaluation["step"]
    return first_seed + trial, f"{step / per_epoch:.3g}", step, evaluation["metrics"], (trial, step) == best


def _suspects_file(suspects: list[tuple[str, int, str, str, str, str, float]]) -> str:
    """A CSV file of all of them, without their texts, as the address of a link."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["file", "row", "id", "label", "suggested", "certainty"])
    for name, row, one, _, label, suggested, certainty in suspects:
        writer.writerow([name, row, one, label, suggested, f"{certainty:.4f}"])
    return "data:text/csv;base64," + base64.b64encode(file.getvalue().encode()).decode()


def _plain(metric: str) -> str:
    """A metric as people write it."""
    known = {"macro_f1": "macro F1", "weighted_f1": "weighted F1", "mcc": "MCC"}
    return known.get(metric, metric.replace("f1:", "F1 of "))
