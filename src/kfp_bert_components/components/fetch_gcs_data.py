"""The component that copies data from Cloud Storage into an artifact."""

from typing import List, NamedTuple

from kfp.dsl import Dataset, Output

from kfp_bert_components.components._images import slim_component


@slim_component
def fetch_gcs_data(
    sources: List[str],
    data: Output[Dataset],
    manifest: str = "",
    user_project: str = "",
    impersonate_service_account: str = "",
    anonymous: bool = False,
) -> NamedTuple("Outputs", [("fingerprint", str)]):
    """Copy objects, folders or globs from Cloud Storage, S3 or a local folder: checked, pinned and resumable.

    Args:
        sources: Objects, folders and globs (`*`, `**`, `?`, `[ab]`, `{a,b}`), gs://, s3:// or local paths.
        manifest: The output manifest of pin_data, or the path or address of the manifest.json of an earlier run. The
            step then fetches the same bytes or fails, and `sources` may be an empty list. Default: fetch what the
            sources hold now; in this case never cache the step.
        user_project: Project to bill for requester-pays buckets. Default: the value of KFP_BERT_USER_PROJECT.
        impersonate_service_account: E-mail address of a service account to act as. Default: the value of
            KFP_BERT_IMPERSONATE.
        anonymous: Send no credentials, for public buckets. Default: whether KFP_BERT_ANONYMOUS is true.

    Returns:
        data: A folder with the files under files/, and a manifest.json with the name, generation, size and crc32c of
            each file.
        fingerprint: Hash of the files' names and content; the same bytes give the same fingerprint.
    """
    from collections import namedtuple
    from pathlib import Path

    from kfp_bert_components.fetch import fetch
    from kfp_bert_components.storage import Access

    access = Access(user_project, impersonate_service_account, anonymous)
    fetched = fetch(sources, Path(data.path), manifest=manifest, access=access)
    files = f"{fetched.files:,} file{'s' * (fetched.files != 1)}"
    print(f"Fetched {files}, {fetched.bytes / 1e6:,.1f} MB, fingerprint {fetched.fingerprint[:16]}.")
    data.metadata["fingerprint"] = fetched.fingerprint
    return namedtuple("Outputs", ["fingerprint"])(fetched.fingerprint)
