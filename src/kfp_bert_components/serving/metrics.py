"""What Prometheus can ask the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from kfp_bert_components.serving.manager import ModelManager

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_INSTANCES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counters of one server.

    Args:
        models: What is served, and what is refused.
        waiting: Called for the number of instances that wait for the model.
    """

    def __init__(self, models: ModelManager, waiting: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "kfp_bert_requests", "Requests that were answered", ["handler", "status"], registry=registry
        )
        self.seconds = Histogram(
            "kfp_bert_request_seconds", "From head to answer", ["handler"], buckets=_SECONDS, registry=registry
        )
        self.instances = Counter("kfp_bert_instances", "Instances that the model answered", registry=registry)
        self._call_seconds = Histogram(
            "kfp_bert_model_call_seconds", "Calls of the model", buckets=_SECONDS, registry=registry
        )
        self._call_instances = Histogram(
            "kfp_bert_model_call_instances", "Instances in a call of the model", buckets=_INSTANCES, registry=registry
        )
        self.connections = Gauge("kfp_bert_connections", "Open connections", registry=registry)
        Gauge("kfp_bert_waiting_instances", "Instances that wait for the model", registry=registry).set_function(
            waiting
        )
        registry.register(_Versions(models))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

    def observe_call(self, seconds: float, instances: int) -> None:
        """Count a call of the model."""
        self._call_seconds.observe(seconds)
        self._call_instances.observe(instances)
        self.instances.inc(instances)

    def text(self) -> bytes:
        """The page for Prometheus."""
        return generate_latest(self._registry)


class _Versions:
    """What is served and what is refused, read when Prometheus asks."""

    def __init__(self, models: ModelManager) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        names = ["version", "registry_version", "fingerprint", "engine"]
        served = GaugeMetricFamily("kfp_bert_served_version", "1 for the version that is served", labels=names)
        if engine := self._models.model:
            version = engine.version
            known = str(version.registry_version or "")
            served.add_metric([str(version.number), known, version.fingerprint, engine.name], 1)
        yield served
        refused = GaugeMetricFamily(
            "kfp_bert_refused_version", "Tries to load a version that is there and not served", labels=["version"]
        )
        for refusal in self._models.refused.values():
            refused.add_metric([str(refusal.number)], refusal.tries)
        yield refused
        yield CounterMetricFamily("kfp_bert_model_loads", "How often a model took over", value=self._models.swaps)
