"""What a fine-tuning run can be told, with the defaults that the literature found to work."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from kfp_bert_components.errors import UserError

# (epochs, learning rate) when neither is given. From a checkpoint: Devlin et al. 2019, appendix A.3 (2 to 4
# epochs, 5e-5 the highest of their rates). From scratch there is nothing to preserve: a higher rate, more
# epochs.
FROM_CHECKPOINT = (3, 5e-5)
FROM_SCRATCH = (10, 1e-3)


@dataclass(frozen=True)
class TrainingSettings:
    """How to train. The papers behind the defaults are named with each group.

    Devlin 2019: BERT, arXiv 1810.04805. Mosbach 2021: On the Stability of Fine-tuning BERT, arXiv 2006.04884.
    Sun 2019: How to Fine-Tune BERT for Text Classification, arXiv 1905.05583. Dodge 2020: Fine-Tuning
    Pretrained Language Models: Weight Initializations, Data Orders, and Early Stopping, arXiv 2002.06305.

    Attributes:
        base_model: Hugging Face checkpoint to start from: hub id, gs:// folder or local folder; "" starts
            from scratch with a vocabulary learned from the training text.
        epochs: Passes over the training rows; 0 means 3 from a checkpoint (Devlin 2019) and 10 from scratch.
        learning_rate: Highest rate of the schedule; 0 means 5e-5 from a checkpoint and 1e-3 from scratch.
        batch_size: Rows in a batch, over all workers and devices together (Devlin 2019: 16 or 32).
        max_length: Longest input in tokens, [CLS] and [SEP] included; longer texts are cut.
        truncation: What stays of a longer text: "head", or "head_tail" (Sun 2019: better for long documents).
        seed: Seed of the new weights, the order of the rows, and dropout.

        weight_decay: Decoupled decay of weight matrices; biases and layer norms have none (Devlin 2019:
            0.01).
        warmup: Share of the steps over which the rate rises from 0; then it falls to 0 in a straight line
            (Devlin 2019, Mosbach 2021: 0.1).
        max_gradient_norm: Longer gradients are scaled down to this norm; 0 never clips (Devlin 2019: 1.0).
        epsilon: Of Adam, which is used with its bias correction (Mosbach 2021: without it, runs collapse).
        layer_decay: Rate of each layer as a multiple of the rate of the layer above (Sun 2019: 0.95); 1 is
            off.
        dropout: Of hidden states and attention; -1 takes the checkpoint's own; from scratch it is 0.1.

        class_weights: "none", or "balanced": each class weighs as much as any other.
        label_smoothing: Share of the target that is spread over all classes.
        accumulation_steps: Batches whose gradients are added up before one step of the optimizer.
        precision: "float32" or "bfloat16": the type of the arithmetic; weights stay float32.
        export_precision: "float32" or "bfloat16": the type of the SavedModel's weights and arithmetic. In bfloat16 it
            is half as large, and faster where the processor computes in it; see `bert.write_bundle`.

        deterministic: Whether each run gives the same bits on the same machine; slower, most of all on a GPU.

        metric: What says which weights are best, on the validation rows: loss, accuracy, macro_f1,
            weighted_f1, mcc, or f1:LABEL.
        evaluations_per_epoch: How often the validation rows are scored (Dodge 2020: more often finds better).
        patience: Evaluations without a better `metric` after which training stops; 0 never stops early. The
            best weights are kept in either case.
        seeds: How many runs, with `seed`, `seed + 1`, ..., of which the best is kept (Dodge 2020). One that
            falls below the median of the earlier ones at the same evaluation is stopped.

        vocabulary_size, layers, width, heads: Size of a network that starts from scratch.

        checkpoint_dir: Local or gs:// folder for checkpoints; "" keeps none. A run that is started again with
            the same data and settings goes on from the newest one. Removed when the run ends.
        checkpoint_minutes: Time between checkpoints; one is also written at each evaluation and on SIGTERM.
        checkpoint_steps: Steps between checkpoints; 0 goes by time alone.
        tensorboard_dir: Local or gs:// folder for TensorBoard event files; "" writes none.
    """

    base_model: str = ""
    epochs: int = 0
    learning_rate: float = 0.0
    batch_size: int = 32
    max_length: int = 128
    truncation: str = "head"
    seed: int = 0

    weight_decay: float = 0.01
    warmup: float = 0.1
    max_gradient_norm: float = 1.0
    epsilon: float = 1e-8
    layer_decay: float = 1.0
    dropout: float = -1.0

    class_weights: str = "none"
    label_smoothing: float = 0.0
    accumulation_steps: int = 1
    precision: str = "float32"
    export_precision: str = "float32"
    deterministic: bool = False

    metric: str = "macro_f1"
    evaluations_per_epoch: int = 1
    patience: int = 0
    seeds: int = 1

    vocabulary_size: int = 4000
    layers: int = 3
    width: int = 128
    heads: int = 4

    checkpoint_dir: str = ""
    checkpoint_minutes: float = 5.0
    checkpoint_steps: int = 0
    tensorboard_dir: str = ""

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:  # also refuses NaN
                raise UserError(f"{name} is {value}, but must be between {low:g} and {high:g}.")
        _one_of("truncation", self.truncation, ("head", "head_tail"))
        _one_of("class_weights", self.class_weights, ("none", "balanced"))
        _one_of("precision", self.precision, ("float32", "bfloat16"))
        _one_of("export_precision", self.export_precision, ("float32", "bfloat16"))
        if self.dropout < 0 and self.dropout != -1:
            raise UserError(f"dropout is {self.dropout}, but must be -1 (the checkpoint's own) or between 0 and 0.9.")
        if self.width % self.heads:
            raise UserError(f"width is {self.width}, but must be a multiple of heads, which is {self.heads}.")

    def resolved(self) -> "TrainingSettings":
        """These settings with `epochs` and `learning_rate` filled in where they are 0."""
        epochs, rate = FROM_CHECKPOINT if self.base_model else FROM_SCRATCH
        return replace(self, epochs=self.epochs or epochs, learning_rate=self.learning_rate or rate)

    def parameters(self) -> dict[str, Any]:
        """What shapes the weights: the bundle records it, and a checkpoint must match it."""
        others = ("checkpoint_dir", "checkpoint_minutes", "checkpoint_steps", "tensorboard_dir", "export_precision")
        return {name: value for name, value in asdict(self.resolved()).items() if name not in others}


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{name} is {value!r}, but must be one of {', '.join(allowed)}.")


_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (0, 10_000),
    "learning_rate": (0, 1),
    "batch_size": (1, 65_536),
    "max_length": (4, 512),
    "seed": (0, 2**31 - 1),
    "weight_decay": (0, 1),
    "warmup": (0, 1),
    "max_gradient_norm": (0, 1e9),
    "epsilon": (1e-15, 1),
    "layer_decay": (0.01, 1),
    "dropout": (-1, 0.9),
    "label_smoothing": (0, 0.9),
    "accumulation_steps": (1, 4096),
    "evaluations_per_epoch": (1, 1000),
    "patience": (0, 10_000),
    "seeds": (1, 100),
    "vocabulary_size": (100, 1_000_000),
    "layers": (1, 48),
    "width": (8, 4096),
    "heads": (1, 64),
    "checkpoint_minutes": (0, 1e6),
    "checkpoint_steps": (0, 1e9),
}
