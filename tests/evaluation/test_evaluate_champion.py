"""The champion on new rows: an alarm where their labels disagree with it, from the component to the decision.

A model here is a table of answers to real or made-up texts; all else is real.
"""

import csv
import json
import re
import shutil
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pytest

from kfp_bert_components.data.ids import hash_texts, ids_of
from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation import evaluate, read_evaluation
from kfp_bert_components.gate import Policy, read_decision
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.compare_models import compare_models
from kfp_bert_components.steps.evaluate_champion import evaluate_champion
from kfp_bert_components.steps.promote_model import promote_model
from tests.support.splits import write_split

LABELS = ["place", "speech", "action"]
DISAGREE = "The new labels disagree with the champion: accuracy 0."


class Line:
    """A pipeline whose models answer as they are told: `run` takes rows of (text, label) and a candidate's answers."""

    def __init__(self, folder, labels=LABELS):
        self.folder, self.labels, self.registry, self.runs = folder, labels, str(folder / "registry"), 0
        self.champion = {}

    def run(self, rows, answers, **rules):
        """Evaluate candidate and champion on the rows, compare, promote; the folder of this run and the decision."""
        self.runs += 1
        at = self.folder / str(self.runs)
        self.write(at, rows)
        candidate = self.scorer(answers)
        evaluate(at / "bundle", at / "test", at / "candidate", predict=candidate)
        old = self.scorer(self.champion)
        evaluate_champion(self.registry, at / "test", at / "champion", at / "champion.html", predict=old)
        policy = Policy(**{"primary_metric": "accuracy", **rules})
        files = (at / "decision", at / "comparison.html", at / "summary.md")
        made = compare_models(at / "candidate", at / "champion", *files, policy, self.registry)
        promote_model(self.registry, at / "bundle", at / "candidate", at / "decision")
        if made.promote:
            self.champion = answers
        return at, made

    def write(self, at, rows):
        texts, labels = (pa.array(column) for column in zip(*rows, strict=True))
        write_split(
            at / "test",
            "test",
            self.labels,
            pa.table({"id": ids_of(hash_texts(texts)), "text": texts, "label": labels}),
        )
        (at / "bundle" / "saved_model").mkdir(parents=True)
        facts = {"format": 1, "labels": self.labels, "pair": False, "max_length": 16, "fingerprint": f"model {at.name}"}
        (at / "bundle" / "bundle.json").write_text(json.dumps(facts))

    def scorer(self, answers):
        """Probabilities by the answer to each text; the first label where there is none."""

        def predict(texts, pairs):
            places = [self.labels.index(answers.get(text, self.labels[0])) for text in texts]
            return 0.8 * np.eye(len(self.labels), dtype=np.float32)[places] + 0.2 / len(self.labels)

        return predict


def rows(name, many):
    return [(f"{name} line {i}", LABELS[i % 3]) for i in range(many)]


def mostly_right(rows, wrong=10, labels=LABELS):
    """Answers of which one in `wrong` is wrong."""
    first = dict(reversed(rows))
    return {
        text: labels[(labels.index(label) + (i % wrong == 0)) % len(labels)]
        for i, (text, label) in enumerate(first.items())
    }


def shuffled(rows, seed=0):
    labels = np.random.default_rng(seed).permutation([label for _, label in rows]).tolist()
    return [(text, label) for (text, _), label in zip(rows, labels, strict=True)]


def constant(rows, label="place"):
    return {text: label for text, _ in rows}


@pytest.fixture
def line(tmp_path):
    """A pipeline with a champion that is right on nine of ten rows, and that knows the new rows as well."""
    line = Line(tmp_path)
    _, made = line.run(rows("old", 300), mostly_right([*rows("old", 300), *rows("new", 500)]))
    assert made.promote
    return line


def test_unchanged_data_raise_no_alarm(line):
    at, made = line.run(rows("new", 500), mostly_right(rows("new", 500), 9))
    found = read_evaluation(at / "champion")
    assert (found.alarm["sentence"], found.alarm["note"], made.warnings) == ("", "", [])
    assert found.alarm["then"] == {"accuracy": 0.9, "rows": 300, "texts": 300}
    assert found.promoted_on.num_rows == 300 and sum(found.promoted_on["right"].to_pylist()) == 270
    page = (at / "champion.html").read_text()
    assert "the rows that it was promoted on" in page and "Look at the data" not in page
    about = re.search(r'<p class="about">.*?</p>', page)[0]
    assert f"model: version 1, {found.model_fingerprint[:12]}<" in about and f"registry: {line.registry}<" in about
    assert "warning" not in (at / "comparison.html").read_text()


def test_labels_that_nobody_can_learn_are_an_alarm_and_hold_the_candidate_back(line, capsys):
    bad = shuffled(rows("new", 500))
    better = {**line.champion, **constant(bad[:250]), **dict(bad[250:350])}
    at, made = line.run(bad, better)
    alarm = read_evaluation(at / "champion").alarm["sentence"]
    assert alarm.startswith(DISAGREE) and "0.900 then (300 rows, 300 texts)" in alarm
    assert (made.outcome, made.gate_outcome) == ("HOLD", "HOLD") and made.reason.startswith(alarm)
    assert "Nor does the candidate reach what the champion reached then" in made.reason
    assert "By the primary metric alone it would be promoted: Accuracy rose by" in made.reason
    assert read_decision(at / "decision").warnings == [alarm]
    # Each step says it; on the page of the comparison it is a warning, and stands in the reason of the HOLD too.
    assert {alarm, f"Warning: {alarm}"} <= set(capsys.readouterr().out.splitlines())
    shown = alarm.replace("'", "&#39;")
    assert (at / "comparison.html").read_text().count(shown) == 2
    assert "**Warning**: The new labels" in (at / "summary.md").read_text()
    page = (at / "champion.html").read_text()
    assert re.search(r'Look at the data <span class="badge bad">alarm</span>', page)
    assert shown in page and page.index("Look at the data") < page.index("Evaluation on 500 test rows")
    assert Registry(line.registry).champion().version == 1


def test_with_warn_the_same_candidate_is_promoted_with_the_warning_and_the_test_set_is_used_once(line):
    bad = shuffled(rows("new", 500))
    better = {**line.champion, **constant(bad[:250]), **dict(bad[250:350])}
    _, held = line.run(bad, better)
    at = line.folder / "2"
    files = (at / "again", at / "again.html", at / "again.md")
    policy = Policy(primary_metric="accuracy", on_data_alarm="warn")
    made = compare_models(at / "candidate", at / "champion", *files, policy, line.registry)
    assert made.outcome == "PROMOTE" and made.warnings == held.warnings != []
    assert made.test_set["number"] == held.test_set["number"]


def test_a_candidate_that_recovers_after_drift_is_promoted_with_the_warning(line):
    turned = [(text, LABELS[(LABELS.index(label) + 1) % 3]) for text, label in rows("new", 500)]
    at, made = line.run(turned, mostly_right(turned))
    assert made.outcome == "PROMOTE" and made.warnings[0].startswith(DISAGREE)
    assert Registry(line.registry).champion().version == 2
    # Its own evaluation is what the next run is compared with.
    at, made = line.run(rows("newer", 300), mostly_right(rows("newer", 300)))
    assert read_evaluation(at / "champion").alarm["then"]["accuracy"] == 0.9 and made.warnings


def test_whether_a_candidate_recovers_is_seen_on_all_rows_also_where_only_fresh_ones_decide(line):
    known, new = rows("old", 300), rows("new", 700)
    line.run(known, constant(known))  # a second use: the known rows are worth less than they cost from now on
    turned = [(text, LABELS[(LABELS.index(label) + 1) % 3]) for text, label in new]
    # Right on 0.85 of all rows, which 300 rows then can't tell from 0.90; and on 0.78 of the fresh ones.
    wrong = {text: label for i, (text, label) in enumerate(new) if i % 50 < 11}
    _, made = line.run([*known, *turned], dict(known) | dict(turned) | wrong)
    assert made.test_set["left_out"] == 300
    assert made.outcome == "PROMOTE" and made.warnings


def test_an_alarm_changes_no_outcome_but_promote(line):
    bad = shuffled(rows("new", 500))
    _, made = line.run(bad, line.champion)
    assert made.outcome == "REJECT" and made.warnings and "same answers" in made.reason


def test_the_first_model_has_no_alarm(tmp_path):
    at, made = Line(tmp_path).run(rows("old", 300), mostly_right(rows("old", 300)))
    assert made.promote and not made.warnings and not read_evaluation(at / "champion").alarm


def test_without_a_champion_a_column_that_the_split_lacks_is_refused_too(tmp_path):
    line = Line(tmp_path)
    line.write(tmp_path, rows("old", 30))
    places = (tmp_path / "test", tmp_path / "champion", tmp_path / "champion.html")
    assert evaluate_champion(line.registry, *places, evidence_by="row") == ""
    with pytest.raises(UserError, match="evidence_by names the column 'film'; the test split has id, text, label"):
        evaluate_champion(line.registry, *places, evidence_by="film")


def test_a_champion_whose_evaluation_is_lost_is_compared_with_the_most_frequent_class(line, capsys):
    shutil.rmtree(line.folder / "registry" / "versions" / "1" / "evaluation")
    at, made = line.run(rows("new", 500), mostly_right(rows("new", 500), 9))
    found = read_evaluation(at / "champion")
    assert not found.alarm["sentence"] and found.promoted_on is None
    assert "How good the champion was when it was promoted is not known. " in found.alarm["note"]
    assert (
        found.alarm["note"] in capsys.readouterr().out
        and found.alarm["note"][:50] in (at / "champion.html").read_text()
    )
    turned = [(text, LABELS[(LABELS.index(label) + 1) % 3]) for text, label in rows("new", 500)]
    at, made = line.run(turned, constant(turned))
    assert "where always saying" in made.warnings[0] and "Nor is the candidate" in made.reason
    assert made.outcome == "HOLD"


def rewrite(line, change):
    """Change the evaluation that the champion was promoted with, and its hash in the version's record."""
    version = line.folder / "registry" / "versions" / "1"
    path, record = version / "evaluation" / "evaluation.json", json.loads((version / "version.json").read_text())
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    record["files"]["evaluation/evaluation.json"]["sha256"] = sha256(path.read_bytes()).hexdigest()
    (version / "version.json").write_text(json.dumps(record))


def test_an_evaluation_of_an_older_format_is_read(line):
    new = ("alarm", "bundle_files")
    rewrite(line, lambda stored: {name: value for name, value in stored.items() if name not in new} | {"format": 1})
    at, _ = line.run(shuffled(rows("new", 500)), {})
    assert "0.900 then" in read_evaluation(at / "champion").alarm["sentence"]


def test_an_evaluation_without_predictions_is_as_good_as_lost(line):
    rewrite(line, lambda stored: stored | {"empty": True})
    at, _ = line.run(rows("new", 500), {})
    note = read_evaluation(at / "champion").alarm["note"]
    assert note == "How good the champion was when it was promoted is not known."


def test_a_film_with_shuffled_labels_is_an_alarm_and_the_film_itself_is_none(films, tmp_path):
    def lines(name):
        with (films / name).open(encoding="utf-8", errors="replace", newline="") as source:
            found = [row for row in csv.reader(source) if len(row) == 2 and row[0].strip() and row[1].isdigit()]
        return [(text, label) for text, label in found]

    conan, terminator = lines("51_conan_the_barbarian.csv"), lines("231_Terminator.csv")
    labels = sorted({label for _, label in conan + terminator})
    model = mostly_right(conan + terminator, 12, labels)
    line = Line(tmp_path, labels)
    assert line.run(conan, model)[1].promote
    good, made = line.run(terminator, mostly_right(terminator, 11, labels))
    assert not read_evaluation(good / "champion").alarm["sentence"] and not made.warnings
    mixed = shuffled(terminator)
    bad, made = line.run(mixed, {**model, **constant(mixed, "3"), **dict(mixed[:1500])})
    assert read_evaluation(bad / "champion").alarm["sentence"].startswith(DISAGREE)
    assert made.outcome == "HOLD" and "By the primary metric alone it would be promoted" in made.reason
