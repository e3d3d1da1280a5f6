"""Runs in the peers' environment: makes checkpoints with transformers, and runs checkpoints through torch.

`make FOLDER` reads FOLDER/*.json, each {class, config, shard}, and writes FOLDER/<name>/ with random weights.
`run FOLDER` goes through FOLDER/*/config.json and writes FOLDER/<name>/expected.npz: hidden states and logits for
FOLDER/<name>/inputs.npz, and how the loading went.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers


def make(folder: Path) -> None:
    for path in sorted(folder.glob("*.json")):
        spec = json.loads(path.read_text())
        torch.manual_seed(3)
        model = getattr(transformers, spec["class"])(transformers.BertConfig(**spec["config"]))
        for weight in model.parameters():
            weight.data += 0.05 * torch.randn_like(weight)
        model.save_pretrained(folder / path.stem, max_shard_size=spec.get("shard", "50GB"))


def run(folder: Path) -> None:
    for path in sorted(folder.glob("*/inputs.npz")):
        config = json.loads((path.parent / "config.json").read_text())
        head = config["architectures"] == ["BertForSequenceClassification"]
        kind = transformers.BertForSequenceClassification if head else transformers.BertModel
        model, loading = kind.from_pretrained(path.parent, output_loading_info=True)
        inputs = {name: torch.tensor(value).long() for name, value in np.load(path).items()}
        with torch.no_grad():
            output = model.eval()(**inputs, output_hidden_states=True)
        result = {"hidden_states": np.stack([state.numpy() for state in output.hidden_states])}
        if head:
            result["logits"] = output.logits.numpy()
        elif output.pooler_output is not None:
            result["pooled"] = output.pooler_output.numpy()
        loading = {name: sorted(map(str, keys)) for name, keys in loading.items()}
        names = [model.config.id2label[i] for i in range(len(model.config.id2label))]
        np.savez(path.parent / "expected.npz", loading=json.dumps(loading), labels=json.dumps(names), **result)


if __name__ == "__main__":
    {"make": make, "run": run}[sys.argv[1]](Path(sys.argv[2]))
