"""Draft."""
import pytest
from tests.support.kserve_worlds import empty, world
__all__ = ["empty", "world"]

@pytest.fixture
def mode():
    return "Gateway"

def test_it(world):
    lines=[]
    try:
        live=world.deploy(report=lines.append)
    finally:
        print("\n".join(lines)); print("\n".join(map(str, world.server.calls)))
        for c in world.server.changing_calls():
            if c.body and c.name=="films": print(c, c.query.get("fieldManager"), [ (k["trafficPercent"], k["predictor"].get("minReplicas")) for k in c.body.get("spec",{}).get("canary",[])], "predictor" in c.body.get("spec",{}))
    print(live["facts"]["mode"], live["facts"]["witnesses"])
    print(world.state())

def test_probe(world):
    import kfp_bert_components; print(kfp_bert_components.__file__)
    from kfp_bert_components.kserve.gateway import is_installed
    from kfp_bert_components.kubernetes_api import Cluster
    print(world.mode, world.server.cluster.gateway_api, is_installed(Cluster("default", world.server.url)))
