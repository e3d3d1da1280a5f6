"""The settings of a fine-tuning run, with the defaults that the literature found to work."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from kfp_bert_components.errors import UserError
from kfp_bert_components.training.schedule import Schedule
from kfp_bert_components.validation import checked_dataclass, one_of

# (epochs, learning rate) when neither is given. From a checkpoint: Devlin et al. 2019, appendix A.3 (2 to 4 epochs,
# 5e-5 the highest of their rates). A network with random weights has nothing to preserve: a higher rate, more epochs.
FROM_CHECKPOINT = (3, 5e-5)
FROM_SCRATCH = (10, 1e-3)

Precision = Annotated[str, one_of("float32", "bfloat16")]
ExportPrecision = Annotated[str, one_of("float32", "bfloat16", "int8")]


@dataclass(frozen=True)
class NetworkSettings:
    """Which network is trained: a checkpoint, or a new one of the given size.

    Attributes:
        base_model: Hugging Face checkpoint to start from; "" for a new network.
        max_length: Longest input in tokens, [CLS] and [SEP] included.
        dropout: Of hidden states and attention; None for the checkpoint's own, and for 0.1 in a new network.
        vocabulary_size: Largest vocabulary of a new network.
        layers: Transformer layers of a new network.
        width: Hidden width of a new network.
        heads: Attention heads of a new network.
        pin: What the files of the checkpoint must be, as `bert.source.pin_checkpoint` saw it; "" where that is not
            known.
        folder: The folder of this machine that they were read into; None where they were not.
    """

    base_model: str
    max_length: int
    dropout: float | None
    vocabulary_size: int
    layers: int
    width: int
    heads: int
    pin: str = ""
    folder: Path | None = None


@dataclass(frozen=True)
class OptimizerSettings:
    """How a gradient is made and how it changes the weights; `TrainingSettings` describes each of these."""

    weight_decay: float
    epsilon: float
    layer_decay: float
    max_gradient_norm: float
    label_smoothing: float


@checked_dataclass
class TrainingSettings:
    """How to train. The papers behind the defaults are named with each group.

    Devlin 2019: BERT, arXiv 1810.04805. Mosbach 2021: On the Stability of Fine-tuning BERT, arXiv 2006.04884.
    Sun 2019: How to Fine-Tune BERT for Text Classification, arXiv 1905.05583. Dodge 2020: Fine-Tuning
    Pretrained Language Models: Weight Initializations, Data Orders, and Early Stopping, arXiv 2002.06305.

    Attributes:
        base_model: Hugging Face checkpoint to start from: hub id, gs:// or s3:// folder, or local folder; "" starts
            from scratch with a vocabulary learned from the training text.
        epochs: Passes over the training rows; 0 means 3 from a checkpoint (Devlin 2019) and 10 from scratch.
        learning_rate: Highest rate of the schedule; 0 means 5e-5 from a checkpoint and 1e-3 from scratch.
        batch_size: Rows in a batch, over all workers and devices together (Devlin 2019: 16 or 32).
        max_length: Longest input in tokens, [CLS] and [SEP] included; longer texts are cut.
        truncation: What stays of a longer text: "head", or "head_tail" (Sun 2019: better for long documents).
        seed: Seed of the new weights, the order of the rows, and dropout.

        weight_decay: Decoupled decay of weight matrices, 0 to 1; biases and layer norms have none (Devlin 2019: 0.01).
        warmup: Share of the steps, 0 to 1, over which the rate rises from 0; then it falls to 0 in a straight line
            (Devlin 2019, Mosbach 2021: 0.1).
        max_gradient_norm: Longer gradients are scaled down to this norm; 0 never clips (Devlin 2019: 1.0).
        epsilon: Of Adam, which is used with its bias correction (Mosbach 2021: without it, runs collapse).
        layer_decay: Rate of each layer as a multiple of the rate of the layer above (Sun 2019: 0.95); 1 gives all
            layers the same rate.
        dropout: Of hidden states and attention; -1 takes the checkpoint's own, and 0.1 from scratch.

        class_weights: "none", or "balanced": each class weighs as much as any other.
        label_smoothing: Share of the target, 0 to 0.9, that is spread over all classes.
        accumulation_steps: Batches whose gradients are added up before one step of the optimizer.
        precision: "float32" or "bfloat16": the type of the arithmetic; weights stay float32.
        export_precision: "float32", "bfloat16" or "int8": the type of the weights that are served, and with it the
            engine: ONNX Runtime or TensorFlow, TensorFlow, ONNX Runtime; see `bert.write_bundle`.

        deterministic: Whether each run gives the same bits on the same machine; slower, most of all on a GPU.

        metric: The weights with the best value of this metric on the validation rows are kept: loss, accuracy,
            macro_f1, weighted_f1, mcc, or f1:LABEL. Where validation has no row of a label that train has, it is the
            loss, whatever was asked for.
        evaluations_per_epoch: How often the validation rows are scored (Dodge 2020: more often finds better).
        patience: Evaluations without a better `metric` after which training stops; 0 never stops early. The
            best weights are kept in either case.
        seeds: How many trials, with `seed`, `seed + 1`, ..., of which the best is kept (Dodge 2020). A trial that
            falls below the median of the earlier ones at the same evaluation is stopped.

        vocabulary_size: Largest vocabulary of a network that starts from scratch.
        layers: Its transformer layers.
        width: Its hidden width, a multiple of `heads`.
        heads: Its attention heads.

        checkpoint_dir: Local, gs:// or s3:// folder for checkpoints; "" keeps none. A run that is started again with
            the same data and settings goes on from the newest one. Removed when the run ends.
        checkpoint_minutes: At most so many minutes of training are lost if the step is killed. Where writing a
            checkpoint takes longer than half of that, up to twice the time of writing is lost. A checkpoint
            is also written when the last step is done, and on SIGTERM.
        checkpoint_steps: Steps between checkpoints; 0 goes by time alone.
        tensorboard_dir: Local, gs:// or s3:// folder for TensorBoard event files; "" writes none.
        keep_texts: "all", or "ids": the report shows file and row of its examples, and not their texts.

        base_model_pin: What the files of `base_model` must be, as `pin_data` saw it; "" where that is not known.

        label_check_rows: Most training rows whose labels are checked by `label_errors`; 0 checks none. The report
            lists those that are likely wrong. Changes nothing else.

    Raises:
        UserError: A value is out of its range, or `width` is no multiple of `heads`.
    """

    base_model: str = ""
    epochs: Annotated[int, Field(ge=0, le=10_000)] = 0
    learning_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 32
    max_length: Annotated[int, Field(ge=4, le=512)] = 128
    truncation: Annotated[str, one_of("head", "head_tail")] = "head"
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0

    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    max_gradient_norm: Annotated[float, Field(ge=0, le=1e9)] = 1.0
    epsilon: Annotated[float, Field(ge=1e-15, le=1)] = 1e-8
    layer_decay: Annotated[float, Field(ge=0.01, le=1)] = 1.0
    dropout: Annotated[float, Field(ge=-1, le=0.9)] = -1.0

    class_weights: Annotated[str, one_of("none", "balanced")] = "none"
    label_smoothing: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    accumulation_steps: Annotated[int, Field(ge=1, le=4096)] = 1
    precision: Precision = "float32"
    export_precision: ExportPrecision = "float32"
    deterministic: bool = False

    metric: str = "macro_f1"
    evaluations_per_epoch: Annotated[int, Field(ge=1, le=1000)] = 1
    patience: Annotated[int, Field(ge=0, le=10_000)] = 0
    seeds: Annotated[int, Field(ge=1, le=100)] = 1

    vocabulary_size: Annotated[int, Field(ge=100, le=1_000_000)] = 4000
    layers: Annotated[int, Field(ge=1, le=48)] = 3
    width: Annotated[int, Field(ge=8, le=4096)] = 128
    heads: Annotated[int, Field(ge=1, le=64)] = 4

    checkpoint_dir: str = ""
    checkpoint_minutes: Annotated[float, Field(ge=0, le=1e6)] = 5.0
    checkpoint_steps: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    tensorboard_dir: str = ""
    keep_texts: Annotated[str, one_of("all", "ids")] = "all"

    base_model_pin: str = ""

    label_check_rows: Annotated[int, Field(ge=0, le=10_000_000)] = 0

    def __post_init__(self) -> None:
        if self.dropout < 0 and self.dropout != -1:
            raise UserError(f"dropout is {self.dropout}, but must be -1 (the checkpoint's own) or between 0 and 0.9.")
        if self.width % self.heads:
            raise UserError(f"width is {self.width}, but must be a multiple of heads, which is {self.heads}.")

    @property
    def network(self) -> NetworkSettings:
        """Which network is trained."""
        return NetworkSettings(
            base_model=self.base_model,
            max_length=self.max_length,
            dropout=None if self.dropout < 0 else self.dropout,
            vocabulary_size=self.vocabulary_size,
            layers=self.layers,
            width=self.width,
            heads=self.heads,
            pin=self.base_model_pin,
        )

    @property
    def optimizer(self) -> OptimizerSettings:
        """How its weights are changed."""
        return OptimizerSettings(
            weight_decay=self.weight_decay,
            epsilon=self.epsilon,
            layer_decay=self.layer_decay,
            max_gradient_norm=self.max_gradient_norm,
            label_smoothing=self.label_smoothing,
        )

    @property
    def dtype(self) -> str:
        """Keras' name of `precision`: "float32" or "mixed_bfloat16"."""
        return "float32" if self.precision == "float32" else f"mixed_{self.precision}"

    def schedule(self, rows: int) -> Schedule:
        """The steps of one trial on so many training rows; call it on `resolved` settings."""
        return Schedule(
            rows=rows,
            batch_size=self.batch_size,
            accumulation_steps=self.accumulation_steps,
            epochs=self.epochs,
            evaluations_per_epoch=self.evaluations_per_epoch,
            peak_rate=self.learning_rate,
            warmup=self.warmup,
        )

    def resolved(self) -> "TrainingSettings":
        """These settings with `epochs` and `learning_rate` filled in where they are 0."""
        epochs, rate = FROM_CHECKPOINT if self.base_model else FROM_SCRATCH
        return replace(self, epochs=self.epochs or epochs, learning_rate=self.learning_rate or rate)

    def parameters(self) -> dict[str, Any]:
        """The settings that decide the weights: a bundle records them, and a checkpoint must have the same ones."""
        others = (
            "checkpoint_dir",
            "checkpoint_minutes",
            "checkpoint_steps",
            "tensorboard_dir",
            "base_model_pin",
            "export_precision",
            "label_check_rows",
            "keep_texts",
        )
        return {name: value for name, value in asdict(self.resolved()).items() if name not in others}
