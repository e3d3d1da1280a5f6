"""The description of the champion's training data, wherever it lies."""

from __future__ import annotations

from kfp_bert_components.data.profile import NAME, Profile, parse_profile
from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import is_folder, is_there, open_store, parse_address

# What a registry's folder holds, with a champion or without.
_REGISTRY = ("champion.json", "registry.json", "versions/", "test_sets/", "promotions/", "deployments/", "pins/")


def read_reference(reference: str) -> tuple[Profile | None, str]:
    """The profile that a `reference` points at, and where it was found or why there is none.

    Args:
        reference: A data_profile.json, a folder with one, or a registry, local, gs:// or s3://.

    Raises:
        UserError: There is neither a profile nor a registry.
    """
    address = parse_address(reference, "reference")
    if reference.endswith(".json"):
        folder, name = address.split()
        return parse_profile(open_store(folder).read(name).data, reference), reference
    neither = UserError(
        f"{reference} holds neither {NAME} nor a registry: set reference to a train split, a profile or a registry."
    )
    if address.is_local and is_there(address.path) and not is_folder(address.path):
        raise neither
    store = open_store(address)
    if store.exists(NAME):
        return parse_profile(store.read(NAME).data, reference), reference
    champion = Registry(store.uri).champion()
    if champion:
        name = f"versions/{champion.version}/bundle/{NAME}"
        place = f"champion {champion.version} of {reference}"
        if store.exists(name):
            return parse_profile(store.read(name).data, place), place
        return None, f"The bundle of {place} holds no {NAME}."
    names = [entry.name for entry in store.list(checksums=False)]
    if not names or any(name.startswith(_REGISTRY) for name in names):
        return None, f"{reference} has no champion yet."
    raise neither
