"""The names of all metrics, as policies and records write them and as people read them."""

from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS
from kfp_bert_components.evaluation.row_metrics import ROW_METRICS

# By name, the title; in the order of the pages.
METRICS = {name: metric.title for name, metric in (COUNT_METRICS | ROW_METRICS).items()}
# The name of a metric of one class starts with one of these and ends with the label: "f1:spam".
CLASS_METRICS = ("f1:", "precision:", "recall:")
LOWER_IS_BETTER = frozenset(name for name, metric in ROW_METRICS.items() if metric.lower_is_better)


def is_metric(name: str) -> bool:
    """Whether `name` is one of METRICS, or names a metric of one class."""
    return name in METRICS or (name.startswith(CLASS_METRICS) and name not in CLASS_METRICS)


def metric_range(name: str) -> tuple[float, float]:
    """The lowest and the highest value that a metric can have."""
    least = COUNT_METRICS[name].least if name in COUNT_METRICS else 0.0
    return least, float(ROW_METRICS[name].most) if name in ROW_METRICS else 1.0


def metric_title(name: str) -> str:
    """The title of any metric with a capital letter, for the start of a sentence."""
    kind, _, label = name.partition(":")
    title = METRICS.get(name) or f"{kind} of class {label!r}"
    return title[0].upper() + title[1:]
