"""Look at what there is to train on without reading it, write down what was seen, and say whether it has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kfp_bert_components.bert.source import pin_checkpoint
from kfp_bert_components.errors import UserError
from kfp_bert_components.fetch import fingerprint, look
from kfp_bert_components.plain import markdown
from kfp_bert_components.progress import say
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import Access, Address, known_address, parse_address


@dataclass(frozen=True)
class Seen:
    """What there is to train on.

    Attributes:
        fingerprint: Of the files that the sources mean.
        manifest: Address of their list, for `fetch`.
        base_model_pin: As `pin_checkpoint` gives it; "" where there is nothing to look at.
        pin: Both fingerprints in one word, for the record of the version that is trained on them.
        changed: Whether the champion was trained on something else, or nobody knows on what.
    """

    fingerprint: str
    manifest: str
    base_model_pin: str
    pin: str
    changed: bool


def pin_data(
    sources: Sequence[str],
    registry: str,
    summary: Path,
    base_model: str = "",
    run: str = "",
    access: Access | None = None,
) -> Seen:
    """Pin the data and the base model: what later steps read are these files or none.

    Args:
        sources: Objects, folders and globs, gs://, s3:// or local.
        registry: URI of the registry, which keeps the list of files and knows the champion.
        summary: Markdown page to write.
        base_model: Checkpoint to start from, as in `finetune_bert`.
        run: Name of this run.
        access: Credentials for sources on gs://.

    Raises:
        UserError: A source matches nothing or can't be listed, the registry lies in one, or `base_model` is no folder.
    """
    manifest, sizes = look(sources, access or Access())
    models = Registry(registry)
    _check_apart(models.uri, sources, [one.source for one in manifest.objects])
    data = fingerprint(manifest.objects)
    base = pin_checkpoint(base_model) if base_model else ""
    pin = f"{data}-{base}" if base else data
    address, first = models.keep_pin(data, manifest.fields(), run)
    champion = models.champion()
    before = _pin_of(models, champion.version) if champion else ""
    sentence = _sentence(champion.version if champion else 0, before, pin, first if first != run else "")
    rows = [(source, *size) for source, size in sizes.items()]
    for source, files, size in rows:
        say(f"{source}: {files:,} file{'s' * (files != 1)}, {size:,} bytes")
    say(sentence)
    _write_page(summary, sentence, data, rows)
    return Seen(data, address, base, pin, before != pin)


def _check_apart(registry: str, sources: Sequence[str], files: Sequence[str]) -> None:
    """UserError where what is written to the registry would be data, which then had changed in every run."""
    here = _real(known_address(registry))
    folders = [one for one in sources if here.startswith(_real(_address(one)))]
    if inside := folders or [one for one in files if _real(known_address(one)).startswith(f"{here}pins/")]:
        raise UserError(
            f"The registry {registry} would be data itself, because of the source {inside[0]}, and every run would "
            "change them: give another place."
        )


def _address(source: str) -> Address:
    # `look` has said already what a relative path stands for.
    local = ":" not in source and not source.startswith("/")
    return parse_address(str(Path(source).expanduser().absolute()) if local else source, "the source")


def _real(address: Address) -> str:
    return f"{address.path.resolve() if address.is_local else address}/"


def _pin_of(models: Registry, version: int) -> str:
    try:
        return models.version(version).pin
    except UserError:  # evaluate_champion says what is wrong with the champion, and what to do
        return ""


def _sentence(version: int, before: str, now: str, run: str) -> str:
    """What has changed since the champion (0: there is none); `run` is the first of earlier runs that saw this data.

    Which steps run is not known here: that depends on their settings, and on what the cache still holds.
    """
    seen = f" (data first seen by run {run})" if run else ""
    if not version:
        return f"there is no champion yet{seen}."
    if before == now:
        cached = "steps whose settings have not changed either can come from the cache"
        return f"data unchanged since version {version}{seen}: {cached}."
    if not before:
        return f"what version {version} was trained on is not known{seen}."
    if before.partition("-")[0] == now.partition("-")[0]:
        return f"the base model has changed since version {version}, the data have not{seen}."
    return f"data changed since version {version}{seen}."


def _write_page(summary: Path, sentence: str, data: str, rows: Sequence[tuple[str, int, int]]) -> None:
    lines = [f"{markdown(sentence)}\n", "| source | files | bytes |", "|---|---:|---:|"]
    lines += [f"| {markdown(source)} | {files:,} | {size:,} |" for source, files, size in rows]
    lines.append(f"\nFingerprint {data[:16]}\n")
    summary.parent.mkdir(parents=True, exist_ok=True)
    summary.write_text("\n".join(lines), encoding="utf-8")
