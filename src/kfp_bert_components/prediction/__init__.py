"""A table in, the table with predictions out: streaming, resumable, in shards."""

from kfp_bert_components.extras import named_extra

with named_extra():
    from kfp_bert_components.prediction.predictor import Predictor
    from kfp_bert_components.prediction.settings import PredictionSettings
    from kfp_bert_components.prediction.table import Predicted, predict_table

__all__ = ["Predicted", "PredictionSettings", "Predictor", "predict_table"]
