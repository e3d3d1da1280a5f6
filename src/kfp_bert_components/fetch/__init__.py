"""Sources to an artifact: listed, pinned, transferred, checked."""

from kfp_bert_components.fetch.fetching import Fetched, fetch

__all__ = ["Fetched", "fetch"]
