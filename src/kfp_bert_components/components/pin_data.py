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
    """Look at the sources and the base model without reading them: what is there now, and has it changed.

    Given the settings of later steps, it also fails at once where one of these steps would refuse them, hours later.

    Never cache this step: set_caching_options(False). Its outputs are the same as long as nothing changes, and so KFP
    takes the steps that depend on them from its cache.

    Args:
        sources: Objects, folders and globs (`*`, `**`, `?`, `[ab]`, `{a,b}`), gs://, s3:// or local paths.
        registry: gs:// or s3:// URI, or path, of the registry, which keeps the list of files and knows the champion.
        base_model: The same as in finetune_bert. A hub id is not looked at.
        settings: The settings of finetune_bert, which are checked; a base_model among them wins.
        prepare: The settings of prepare_text_data, which are checked.
        primary_metric: That of compare_models, which is checked. So are the next three.
        min_improvement: That of compare_models.
        alpha: That of compare_models.
        policy: That of compare_models. If it is an address, the file is read here too.
        run_name: Name of this run: dsl.PIPELINE_JOB_NAME_PLACEHOLDER.
        user_project: Project to bill for buckets whose readers pay. Default: that in KFP_BERT_USER_PROJECT.
        impersonate_service_account: E-mail address of a service account to act as. Default: that in
            KFP_BERT_IMPERSONATE.
        anonymous: Send no credentials, for public buckets. Default: whether KFP_BERT_ANONYMOUS is true.
        mirror_to: That of promote_model, which is checked.
        evidence_by: That of evaluate_model. A column must be among the metadata_columns of `prepare`.

    Returns:
        fingerprint: Hash of names, sizes and checksums; of local files, of names, sizes, times and inodes.
        manifest: Address of the list of files, for fetch_gcs_data, which fetches these files or none.
        base_model_pin: For finetune_bert, which trains from these files or not at all; "" where nothing is looked at.
        pin: All of it in one word, for promote_model.
        changed: Whether the champion was trained on something else, or nobody knows on what.
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
