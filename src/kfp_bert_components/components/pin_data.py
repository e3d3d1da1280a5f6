"""The component that looks at the data without reading them."""

from typing import Dict, List, NamedTuple

from kfp.dsl import Markdown, Output

from kfp_bert_components.components._images import slim_component


@slim_component
def pin_data(
    sources: List[str],
    registry: str,
    summary: Output[Markdown],
    base_model: str = "",
    settings: Dict = {},
    prepare: Dict = {},
    primary_metric: str = "macro_f1",
    min_improvement: float = 0.0,
    alpha: float = 0.05,
    policy: str = "",
    run_name: str = "",
    user_project: str = "",
    impersonate_service_account: str = "",
    anonymous: bool = False,
    mirror_to: List[str] = [],
    evidence_by: str = "text",
) -> NamedTuple(
    "Outputs", [("fingerprint", str), ("manifest", str), ("base_model_pin", str), ("pin", str), ("changed", bool)]
):
    """Find out what the sources and the base model hold now, and whether it has changed, without reading the files.

    If the settings of later steps are given, this step checks them too: it fails at once if a later step would refuse
    them hours later.

    Never cache this step: set_caching_options(False). Its outputs stay the same as long as nothing changes, so KFP
    takes the results of the steps that depend on them from its cache.

    Args:
        sources: Objects, folders and globs (`*`, `**`, `?`, `[ab]`, `{a,b}`), gs://, s3:// or local paths.
        registry: gs:// or s3:// URI, or path, of the registry, which keeps the list of files and knows the champion.
        base_model: The same as in finetune_bert. A hub id is not checked.
        settings: The settings of finetune_bert, which are checked; a base_model among them wins over the parameter
            base_model.
        prepare: The settings of prepare_text_data, which are checked.
        primary_metric: The primary_metric of compare_models, which is checked. The next three parameters are checked
            too.
        min_improvement: The min_improvement of compare_models.
        alpha: The alpha of compare_models.
        policy: The policy of compare_models. If it is an address, the file is read here too.
        run_name: Name of this run: dsl.PIPELINE_JOB_NAME_PLACEHOLDER.
        user_project: Project to bill for requester-pays buckets. Default: the value of KFP_BERT_USER_PROJECT.
        impersonate_service_account: E-mail address of a service account to act as. Default: the value of
            KFP_BERT_IMPERSONATE.
        anonymous: Send no credentials, for public buckets. Default: whether KFP_BERT_ANONYMOUS is true.
        mirror_to: The mirror_to of promote_model, which is checked.
        evidence_by: The evidence_by of evaluate_model. A column must be among the metadata_columns of `prepare`.

    Returns:
        fingerprint: Hash of the files' names, sizes and checksums; for local files, of their names, sizes, times and
            inodes.
        manifest: Address of the list of files, for fetch_gcs_data, which fetches exactly these files or fails.
        base_model_pin: State of the base model's files, for finetune_bert, which fails if they have changed; "" if no
            base model was checked.
        pin: The state of data and base model as one text, for promote_model.
        changed: Whether the champion was trained on something else, or it is not known what it was trained on.
        summary: What is there, and since when.
    """
    from collections import namedtuple
    from pathlib import Path

    from kfp_bert_components.steps.check_settings import check_settings
    from kfp_bert_components.steps.pin_data import pin_data
    from kfp_bert_components.storage import Access

    gate = {"primary_metric": primary_metric, "min_improvement": min_improvement, "alpha": alpha}
    check_settings(prepare, settings, gate, policy, mirror_to, registry, evidence_by)
    access = Access(user_project, impersonate_service_account, anonymous)
    base_model = settings.get("base_model", base_model)
    seen = pin_data(sources, registry, Path(summary.path), base_model, run_name, access)
    return namedtuple("Outputs", ["fingerprint", "manifest", "base_model_pin", "pin", "changed"])(
        seen.fingerprint, seen.manifest, seen.base_model_pin, seen.pin, seen.changed
    )
