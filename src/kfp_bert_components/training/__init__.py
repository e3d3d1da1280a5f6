"""Fine-tuning: batches of rows of similar length, AdamW, checkpoints, one machine or several."""

from pathlib import Path

from kfp_bert_components.quiet import quietly
from kfp_bert_components.training.settings import TrainingSettings

__all__ = ["TrainingSettings", "finetune"]


def finetune(train: Path, validation: Path, model: Path, report: Path, settings: TrainingSettings) -> dict[str, float]:
    """Fine-tune BERT on a split, keep the weights that did best on another, and write them as a bundle.

    If TF_CONFIG names several workers, each worker calls this function, and only the first worker writes. Call it
    before anything else in the process uses TensorFlow.

    Args:
        train: Folder of the split to train on.
        validation: Folder of the split that says which weights are best; may be the split to train on.
        model: Folder for the model bundle.
        report: Path of the HTML report.
        settings: How to train.

    Returns:
        Finite numbers. Of the kept weights: validation_loss (mean cross entropy in nats), validation_accuracy,
        validation_macro_f1, validation_weighted_f1, validation_mcc, best_step and best_seed. Of the whole run:
        train_loss (mean of the last epoch), steps, epochs_trained, seconds (of training alone) and
        examples_per_second.

    Raises:
        UserError: A setting, a split or the base model is at fault, or the loss became infinite or NaN.
        Preempted: SIGTERM was received; a checkpoint was written if there is a `checkpoint_dir`.
        WorkerLostError: Another worker is gone, or can't be reached.
    """
    with quietly():
        from kfp_bert_components.training import finetuning

    return finetuning.finetune(Path(train), Path(validation), Path(model), Path(report), settings)
