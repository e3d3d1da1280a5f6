"""Sources to an artifact: listed, pinned, transferred, checked."""

from kfp_bert_components.extras import named_extra

with named_extra():
    from kfp_bert_components.fetch.fetching import Fetched, fetch

__all__ = ["Fetched", "fetch"]
