"""Sources to an artifact: listed, pinned, transferred, checked."""

from kfp_bert_components.extras import named_extra

with named_extra():
    from kfp_bert_components.fetch.fetching import Fetched, fetch
    from kfp_bert_components.fetch.manifest import Manifest, Pinned
    from kfp_bert_components.fetch.pins import fingerprint
    from kfp_bert_components.fetch.sources import look

__all__ = ["Fetched", "Manifest", "Pinned", "fetch", "fingerprint", "look"]
