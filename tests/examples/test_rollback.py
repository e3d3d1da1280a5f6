"""Going back to an older model from a pipeline: the champion moves once a run, and what is served follows."""

from functools import partial

import pytest

from kfp_bert_components.errors import ConflictError, RunError, UserError
from kfp_bert_components.origin import Origin
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.deploy_to_serving_directory import deploy_to_serving_directory
from kfp_bert_components.steps.rollback_model import rollback_model
from tests.support.examined import write_examined
from tests.support.examples import EXAMPLES
from tests.support.models import promote_next
from tests.support.pipeline_runs import run_pipeline
from tests.support.promoters import interrupt

ROLL_BACK = f"{EXAMPLES / 'rollback.py'}:roll_back"


@pytest.fixture
def registry(tmp_path):
    """A registry whose champion is the third one."""
    registry = Registry(str(tmp_path / "registry"))
    for name in ("a", "b", "c"):
        promote_next(registry, tmp_path, name)
    return registry


def test_a_step_that_is_tried_again_goes_back_once_and_another_run_once_more(registry, capsys):
    first, second = (Origin(run_id=run, run_name="roll-back", workflow=f"roll-back-{run}") for run in ("1", "2"))
    assert [rollback_model(registry.uri, reason="bad", origin=first) for _ in range(2)] == [2, 2]
    assert "This run has rolled back to version 2 already." in capsys.readouterr().out
    assert rollback_model(registry.uri, origin=second) == 1
    assert registry.history()[-2].text == "The champion was rolled back from version 3 to version 2: bad."


def test_the_version_to_go_back_to_can_be_given_and_is_reached_also_when_tried_again(registry):
    run = Origin(run_name="roll-back-20261129")  # as on Vertex
    assert [rollback_model(registry.uri, 1, origin=run) for _ in range(2)] == [1, 1]
    with pytest.raises(UserError, match="Version 1 is the champion already"):
        rollback_model(registry.uri, 1, origin=Origin(run_name="roll-back-20261130"))


def test_a_step_that_is_tried_again_leaves_alone_what_others_did_since(registry, tmp_path, capsys):
    run = Origin(run_id="1", workflow="roll-back-1")
    assert rollback_model(registry.uri, origin=run) == 2
    promote_next(registry, tmp_path, "d")
    assert rollback_model(registry.uri, origin=run) == 4
    assert "has rolled back to version 2 already; the champion is version 4 since." in capsys.readouterr().out
    registry.rollback(1)
    assert rollback_model(registry.uri, 3, origin=run) == 1
    moves = [event["version"] for event in registry.require_champion().log]
    assert moves == [1, 2, 3, 2, 4, 1]


def test_a_move_that_was_taken_back_as_its_version_was_removed_does_not_count(registry):
    run = Origin(run_id="1", workflow="roll-back-1")
    moved = Registry(registry.uri, origin=run)
    remove = partial(registry.store.delete, "versions/2/version.json")
    interrupt(moved, "write", "champion.json", remove, after=True)
    with pytest.raises(ConflictError, match="Version 2 was removed at the same moment"):
        moved.rollback(2)
    assert registry.require_champion().version == 3
    assert rollback_model(registry.uri, origin=run) == 1


@pytest.mark.docs
def test_the_example_serves_the_model_before(tmp_path):
    registry, serving = Registry(str(tmp_path / "registry")), tmp_path / "serving"
    registry.promote(*write_examined(tmp_path / "first", "first", shout_score=0.9))
    champion = registry.require_champion()
    second = write_examined(tmp_path / "second", "second", shout_score=0.8, champion=(1, champion.generation))
    registry.promote(*second)
    assert deploy_to_serving_directory(registry.uri, str(serving)).version == 2

    places = {"registry": registry.uri, "serving_directory": serving}
    found = run_pipeline(ROLL_BACK, tmp_path / "run", reason="wrong labels in May", **places)
    assert found["rollback-model"]["champion_version"] == "1"
    assert registry.deployment("production").live_version == 1
    assert '"fingerprint": "model first"' in max(serving.glob("*/assets.extra/bundle.json")).read_text()
    (moved,) = (event for event in registry.history() if "rolled back" in event.text)
    assert moved.text.endswith("from version 2 to version 1: wrong labels in May.") and moved.origin["folder"]
    with pytest.raises(RunError, match="There is no champion before version 1 to go back to"):
        run_pipeline(ROLL_BACK, tmp_path / "run", reason="once more", **places)
