"""The example with settings of pods runs on this machine, where there are none."""

import pytest

from kfp_bert_components.registry import Registry
from tests.support.easy_tables import write_easy_lines
from tests.support.examples import EXAMPLES, given
from tests.support.pipeline_runs import run_pipeline


@pytest.mark.docs
def test_without_pods_it_trains_decides_and_serves(tmp_path):
    table = write_easy_lines(tmp_path / "lines.csv")
    found = run_pipeline(f"{EXAMPLES / 'on_kubernetes.py'}:on_kubernetes", tmp_path, **given(tmp_path, table))
    assert found["compare-models"]["outcome"] == "PROMOTE", found["compare-models"]["reason"]
    assert Registry(str(tmp_path / "registry")).deployment("production").live_version == 1
