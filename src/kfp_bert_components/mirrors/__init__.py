"""Mirrors: registries that people already have, which are told of promotions and decide nothing here."""

from kfp_bert_components.mirrors.address import MirrorAddress, parse_mirrors
from kfp_bert_components.mirrors.mirror import mirror

__all__ = ["MirrorAddress", "mirror", "parse_mirrors"]
