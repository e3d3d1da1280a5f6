"""transformers' Trainer, in the peers' own environment: run by benchmarks/training.py and compare_with_trainer.py.

    python training_peer.py time JOB.json      reads names of variants, prints the seconds of one epoch of each
    python training_peer.py train JOB.json     trains, prints predictions for the job's test texts

A job has base_model, labels, train and test (lists of [text, label index]), and settings: batch_size, max_length,
epochs, learning_rate, weight_decay, warmup, seed, bf16.
"""

import json
import sys
import tempfile
import time

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

# The Trainer's optimizer is torch's fused AdamW in all of them.
VARIANTS = {
    "default": {},
    "grouped": {"train_sampling_strategy": "group_by_length"},
    "best": {"train_sampling_strategy": "group_by_length", "bf16": True},
    "compiled": {"train_sampling_strategy": "group_by_length", "bf16": True, "torch_compile": True},  # for a GPU
    "padded": {},  # every row padded to max_length, as transformers' tutorial does
}


def read_job() -> dict:
    """The job, with its rows tokenized."""
    with open(sys.argv[2], encoding="utf-8") as file:
        job = json.load(file)
    job["tokenizer"] = AutoTokenizer.from_pretrained(job["base_model"])
    return job


def rows(job: dict, part: str, padding: str | bool = False) -> list[dict]:
    """The rows of a part as the Trainer takes them."""
    texts, targets = zip(*job[part], strict=True)
    length = job["settings"]["max_length"]
    found = job["tokenizer"](
        list(texts), truncation=True, max_length=length, padding=padding, split_special_tokens=True
    )
    return [
        {**{name: values[i] for name, values in found.items()}, "labels": target} for i, target in enumerate(targets)
    ]


def make_trainer(job: dict, train: list[dict], folder: str, callbacks: list | None = None, **arguments) -> Trainer:
    """A Trainer with the job's hyperparameters."""
    settings = job["settings"]
    torch.manual_seed(settings["seed"])
    model = AutoModelForSequenceClassification.from_pretrained(
        job["base_model"], num_labels=len(job["labels"]), dtype=torch.float32
    )
    training = TrainingArguments(
        folder,
        per_device_train_batch_size=settings["batch_size"],
        num_train_epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        warmup_steps=settings["warmup"],
        seed=settings["seed"],
        use_cpu=not torch.cuda.is_available(),
        optim="adamw_torch_fused",
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        **arguments,
    )
    collator = DataCollatorWithPadding(job["tokenizer"])
    return Trainer(model, training, data_collator=collator, train_dataset=train, callbacks=callbacks)


class Clock(TrainerCallback):
    """Seconds from the first step of an epoch to its last."""

    def on_epoch_begin(self, *arguments, **more):
        self.start = time.perf_counter()

    def on_epoch_end(self, *arguments, **more):
        self.seconds = time.perf_counter() - self.start


def time_variants() -> None:
    """One epoch for each line on stdin; the Trainer of a variant is made once and goes on training."""
    job = read_job()
    trainers = {}
    with tempfile.TemporaryDirectory() as folder:
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {gpu}", flush=True)
        for line in sys.stdin:
            name = line.strip()
            if name not in trainers:
                train = rows(job, "train", "max_length" if name == "padded" else False)
                clock = Clock()
                trainers[name] = make_trainer(job, train, folder, [clock], **VARIANTS[name]), clock
            trainer, clock = trainers[name]
            trainer.train()
            print(clock.seconds, flush=True)


def train_and_predict() -> None:
    """Train as the job says and print the predicted class of each test row."""
    job = read_job()
    bf16 = {"bf16": True} if job["settings"].get("bf16") else {}
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(job, rows(job, "train"), folder, train_sampling_strategy="group_by_length", **bf16)
        trainer.train()
        # Grouping by length would also shuffle the rows of a prediction.
        trainer.args.train_sampling_strategy = "random"
        logits = trainer.predict(rows(job, "test")).predictions
    print(json.dumps(logits.argmax(axis=1).tolist()))


if __name__ == "__main__":
    {"time": time_variants, "train": train_and_predict}[sys.argv[1]]()
