"""What the tests of rollouts by a canary have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.kserve_rollouts import NAME, NAMESPACE, SERVICES, KServeWorld
from tests.support.kserve_shares import stamp

STEPS = ["canary 0", "canary 10", "canary 50", "canary 100", "predictor 2", "canary 0", "no canary"]


def written(world: KServeWorld) -> list[str]:
    """What was written into the InferenceService, in short."""
    return [short(call) for call in world.server.changing_calls() if call.name == NAME and call.body]


def short(call: Any) -> str:
    """What one call wrote into the InferenceService."""
    spec = call.body.get("spec", {})
    if "containers" not in spec.get("predictor", {"containers": []}):
        return f"pods {spec['predictor']['minReplicas']}"
    if "predictor" in spec:
        return f"predictor {stamp(spec['predictor']).split('-')[0]}"
    return " ".join(f"canary {one['trafficPercent']}" for one in spec.get("canary", ())) or "no canary"


def change(world: KServeWorld, write: Callable[[dict[str, Any]], Any]) -> None:
    """Change the InferenceService as somebody else would."""
    world.server.cluster.store.change(SERVICES, NAMESPACE, NAME, lambda one: write(one) or one)


class At:
    """A report by which something happens at the first line that has these words. `lines` are all of them."""

    def __init__(self, when: str, happens: Callable[[], Any]) -> None:
        self.when, self.happens, self.lines = when, happens, list[str]()

    def __call__(self, line: str) -> None:
        first = self.when in line and not any(self.when in one for one in self.lines)
        self.lines.append(line)
        if first:
            self.happens()
