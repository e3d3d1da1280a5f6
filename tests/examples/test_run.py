"""The examples run on this machine, on tables that a tiny network learns in seconds."""

import csv
import json
import random
import shutil
import subprocess
import sys
import threading

import pyarrow.parquet as pq
import pytest
import yaml
from google.cloud import aiplatform_v1 as v1
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from kfp_bert_components.local.server import predict, running_server
from kfp_bert_components.registry import Registry
from tests.conftest import ROOT
from tests.support.ai_platform_server import AiPlatformServer
from tests.support.easy_tables import TINY, WORDS, text, write_easy_lines
from tests.support.pipeline_runs import run_pipeline
from tests.support.stores import gcs
from tests.support.stub_steps import with_stubs
from tests.support.vocabularies import SPECIAL, write_checkpoint

__all__ = ["gcs"]
pytestmark = pytest.mark.docs
TRAINS = {"fetch-gcs-data", "prepare-text-data", "finetune-bert", "evaluate-model", "evaluate-champion"}
DECIDES = {"compare-models", "promote-model"}


def run(example, folder, sources, training=TINY, **more):
    """Run an example as its user does, with a registry and a serving directory in the folder."""
    places = {"registry": folder / "registry", "serving_directory": folder / "serving"}
    given = {"sources": sources, "training": json.dumps(training), **places, **more}
    return run_pipeline(f"{ROOT / 'examples' / example}", folder, **given)


def log_of(folder):
    """All that the newest run has printed."""
    return max((folder / "runs").glob("*/log.txt"), key=lambda path: path.stat().st_mtime).read_text()


def test_by_import_it_trains_decides_and_serves(tmp_path):
    found = run("train_and_deploy.py:my_text_classifier", tmp_path, write_easy_lines(tmp_path / "lines.csv"))
    assert found["compare-models"]["outcome"] == "PROMOTE", found["compare-models"]["reason"]
    assert Registry(str(tmp_path / "registry")).champion().version == 1
    with running_server(tmp_path / "serving", tmp_path / "server.log", port=0) as url:
        assert predict(url, ["bab dog fik gol"])[0]["label"] == "animal"


def test_a_night_without_new_data_trains_nothing_and_mends_the_deployment(tmp_path):
    lines = write_easy_lines(tmp_path / "lines.csv")
    first = run("nightly.py:nightly", tmp_path, lines)
    assert first["compare-models"]["outcome"] == "PROMOTE", first["compare-models"]["reason"]
    shutil.rmtree(tmp_path / "serving")

    second = run("nightly.py:nightly", tmp_path, lines)
    assert second.keys() == {"pin-data", "deploy-to-serving-directory-2", "clean-up-run"}
    assert "skipped: pin-data-changed == true does not hold, because pin-data-changed is False" in log_of(tmp_path)
    assert list((tmp_path / "serving").glob("[0-9]*/saved_model.pb"))

    # Only what runs is looked at: all steps but the first do nothing.
    lines.write_text(lines.read_text() + "one more dog,animal\n")
    spec = tmp_path / "night.yaml"
    spec.write_text((tmp_path / "pipeline.yaml").read_text())
    with_stubs(spec, real={"exec-pin-data"})
    third = run_pipeline(
        str(spec), tmp_path / "third", sources=lines, registry=tmp_path / "registry", serving_directory=tmp_path / "s"
    )
    assert third.keys() == {*TRAINS, *DECIDES, "pin-data", "deploy-to-serving-directory", "clean-up-run"}


def test_the_best_of_a_sweep_on_validation_is_the_one_that_is_compared_on_test(tmp_path):
    trials = [{"learning_rate": rate, "seed": seed} for rate, seed in ((1e-6, 0), (0.005, 3))]
    training = {name: value for name, value in TINY.items() if name != "learning_rate"}
    lines = write_easy_lines(tmp_path / "lines.csv")
    found = run("sweep.py:sweep", tmp_path, lines, training, trials=json.dumps(trials), base_model="")
    tried = [found[f"for-loop-2-iteration-{number}/finetune-bert"]["model"] for number in range(2)]
    assert found["choose-best"]["Output"] == trials[1]
    best = found["choose-best"]["best"]
    assert [(path / "bundle.json").read_bytes() == (best / "bundle.json").read_bytes() for path in tried] == [
        False,
        True,
    ]
    assert found["compare-models"]["outcome"] == "PROMOTE", found["compare-models"]["reason"]
    registry = Registry(str(tmp_path / "registry"))
    assert [one.version for one in registry.versions()] == [1]
    assert registry.version(1).pin == found["pin-data"]["pin"]


def test_a_job_whose_machine_was_taken_away_is_started_again(gcs, tmp_path):
    def work(job):
        """The first machine is taken away; the second one runs the command of the job's container."""
        if len(server.cloud.jobs) == 1:
            job.error = {"code": 10, "message": "the machine was preempted"}
            job.state = v1.JobState.JOB_STATE_FAILED
        else:
            threading.Thread(target=train, args=(job,)).start()

    def train(job):
        command = job.job_spec.worker_pool_specs[0].container_spec.command
        code = subprocess.run([sys.executable, *command[1:]]).returncode
        job.state = v1.JobState.JOB_STATE_FAILED if code else v1.JobState.JOB_STATE_SUCCEEDED

    example = yaml.safe_load(compiled("train_on_gpus", tmp_path))
    defaults = example["root"]["inputDefinitions"]["parameters"]["training"]["defaultValue"]
    spec = tmp_path / "quick.yaml"
    spec.write_text(compiled("train_on_gpus", tmp_path).replace("backoffDuration: 60s", "backoffDuration: 0s"))
    with AiPlatformServer() as server:
        server.cloud.on_job = work
        training = {**defaults, **TINY, "job_staging": "gs://bucket/staging", "job_api_endpoint": server.url}
        found = run_pipeline(
            str(spec),
            tmp_path,
            sources=write_easy_lines(tmp_path / "lines.csv"),
            registry=tmp_path / "registry",
            serving_directory=tmp_path / "serving",
            base_model="",
            training=json.dumps(training),
        )
    assert found["compare-models"]["outcome"] == "PROMOTE", found["compare-models"]["reason"]
    first, second = server.cloud.jobs.values()
    assert second.job_spec == first.job_spec  # with the same folder, in which the checkpoints are
    (pool,) = second.job_spec.worker_pool_specs
    assert pool.machine_spec.accelerator_type == v1.AcceleratorType.NVIDIA_L4
    assert pool.container_spec.image_uri.startswith("my-registry/my-team-gpu/python-tensorflow:")
    assert second.job_spec.scheduling.strategy == v1.Scheduling.Strategy.SPOT
    log = log_of(tmp_path)
    assert "the machine was preempted" in log and log.count("finetune-bert started") == 2


def compiled(example, folder):
    """The text that an example's file writes."""
    target = folder / f"{example}.yaml"
    subprocess.run([sys.executable, ROOT / "examples" / f"{example}.py", target], check=True)
    return target.read_text()


def test_a_model_of_pairs_is_trained_on_premises_that_its_test_does_not_have(tmp_path):
    rng = random.Random(0)
    words = dict(zip("012", WORDS.values(), strict=True))
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["premise", "hypothesis", "label"])
        for _ in range(200):
            premise = text(rng, "bab")
            table.writerows((premise, text(rng, rng.choice(words[label])), label) for label in words)
    found = run("text_pairs.py:entailment", tmp_path, tmp_path / "pairs.csv")
    assert found["compare-models"]["outcome"] == "PROMOTE", found["compare-models"]["reason"]
    train, test = (
        set(pq.read_table(found["prepare-text-data"][name] / "examples.parquet")["text"].to_pylist())
        for name in ("train", "test")
    )
    assert train and test and not train & test
    with running_server(tmp_path / "serving", tmp_path / "server.log", port=0) as url:
        pair = {"text": text(rng, "bab"), "text_pair": "gob blue luf"}
        assert predict(url, [pair])[0]["label"] == "neutral"


SYLLABLES = "가나다라마바사아자차카타파하거너더러머버서어저처커터퍼허고노도로모보소오"
KOREAN = [first + last for first in SYLLABLES[:14] for last in SYLLABLES[14:21]]
REVIEWS = {"0": ["지루하다", "최악이다", "별로다"], "1": ["재미있다", "최고다", "감동이다"]}


def test_korean_reviews_are_told_apart_by_a_checkpoint_with_a_korean_vocabulary(tmp_path):
    table = write_easy_lines(
        tmp_path / "ratings.txt", 600, REVIEWS, KOREAN, columns=("document", "label"), delimiter="\t"
    )
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(table.read_text(encoding="utf-8").splitlines(), trainer)
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    base = write_checkpoint(
        tmp_path / "korean-bert", None, {"do_lower_case": False}, vocabulary=vocabulary, hidden_size=32
    )
    training = {name: TINY[name] for name in ("epochs", "learning_rate", "batch_size", "max_length")}
    found = run("korean.py:korean_reviews", tmp_path, table, training, base_model=base)
    assert found["compare-models"]["outcome"] == "PROMOTE", found["compare-models"]["reason"]
    model = found["finetune-bert"]["model"]
    assert json.loads((model / "bundle.json").read_text())["labels"] == ["부정", "긍정"]
    with running_server(tmp_path / "serving", tmp_path / "server.log", port=0) as url:
        answers = predict(url, [f"{KOREAN[0]} {REVIEWS[label][0]} {KOREAN[1]}" for label in ("0", "1")])
        assert [answer["label"] for answer in answers] == ["부정", "긍정"]
