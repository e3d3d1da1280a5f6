"""`kfp-bert registry`: look at a registry, go back to an older version, check it, clean it."""

import json
from dataclasses import asdict

import click


@click.group("registry")
def command() -> None:
    """Look at a registry, go back to an older version, check it, clean it.

    REGISTRY is a gs:// URI or a local folder.
    """


@command.command("list")
@click.argument("registry")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_(registry: str, as_json: bool) -> None:
    """List the versions and where they are deployed."""
    from kfp_bert_components.registry import Registry

    models = Registry(registry)
    champion = models.champion()
    live = {target: models.deployment(target) for target in models.targets()}
    versions = models.versions()
    if as_json:
        value = {
            "champion": champion.version if champion else None,
            "versions": [asdict(one) for one in versions],
            "deployments": {name: {"state": one.state, "version": one.version} for name, one in live.items()},
        }
        click.echo(json.dumps(value, indent=1, default=dict))
        return
    if not versions:
        click.echo(f"The registry {models.uri} holds no version yet.")
        return
    for one in versions:
        notes = ["champion"] if champion and one.version == champion.version else []
        notes += [f"{record.state} on {name}" for name, record in live.items() if record.version == one.version]
        notes += [
            f"live on {name}"
            for name, record in live.items()
            if record.live_version == one.version and record.version != one.version
        ]
        click.echo(f"{one.version:>5}  {one.at[:19]}Z  {_first_metric(one.metrics):<22}  {', '.join(notes)}".rstrip())


@command.command()
@click.argument("registry")
@click.argument("version", type=int, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the version's record as JSON.")
def show(registry: str, version: int | None, as_json: bool) -> None:
    """Show the model card of VERSION, by default the champion's."""
    from kfp_bert_components.registry import Registry

    models = Registry(registry)
    record = models.version(models.require_champion().version if version is None else version)
    if as_json:
        click.echo(json.dumps(asdict(record), indent=1, default=dict))
        return
    click.echo(models.card(record.version))


@command.command()
@click.argument("registry")
def history(registry: str) -> None:
    """List what happened to the registry, oldest first."""
    from kfp_bert_components.registry import Registry

    events = Registry(registry).history()
    for event in events:
        click.echo(f"{event.at[:19]}Z  {event.text} ({event.by})")
    if not events:
        click.echo("Nothing has happened yet.")


@command.command()
@click.argument("registry")
@click.option("--to", "version", type=int, help="Version to go back to. Default: the champion before this one.")
@click.option("--reason", default="", help="Why, for the history.")
def rollback(registry: str, version: int | None, reason: str) -> None:
    """Make an older version champion; the next pipeline run or deployment then deploys it."""
    from kfp_bert_components.registry import Registry

    models = Registry(registry)
    champion = models.rollback(version, reason)
    click.echo(f"The champion is version {champion.version}.")
    for target in models.targets():
        if models.deployment_pending(target):
            click.echo(f"It has to be deployed to {target}.")


@command.command()
@click.argument("registry")
@click.option("--version", type=int, help="Check only this version.")
def verify(registry: str, version: int | None) -> None:
    """Read every file and compare it with the hash it was stored with."""
    from kfp_bert_components.errors import UserError
    from kfp_bert_components.registry import Registry

    problems = Registry(registry).verify(version)
    for problem in problems:
        click.echo(problem)
    if problems:
        raise UserError(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} found in {registry}.")
    click.echo("Everything is as it was stored.")


@command.command()
@click.argument("registry")
@click.option("--keep", default=5, show_default=True, help="Former champions to keep, at least 1.")
@click.option(
    "--unfinished-hours",
    default=24.0,
    show_default=True,
    help="Age in hours at which a version that never became champion is removed.",
)
@click.option("--dry-run", is_flag=True, help="Only print what would be removed.")
def gc(registry: str, keep: int, unfinished_hours: float, dry_run: bool) -> None:
    """Remove versions that nothing needs: never the champion, nor what is deployed."""
    from kfp_bert_components.registry import Registry

    found = Registry(registry).gc(keep, unfinished_hours, dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    lines = {number: f"kept     {number}: {why}" for number, why in found.keep.items()}
    lines |= {number: f"{verb}  {number}: {why}" for number, why in found.remove.items()}
    for number in sorted(lines):
        click.echo(lines[number])
    if not lines:
        click.echo("There is nothing to remove.")


def _first_metric(metrics: object) -> str:
    """The first metric and its interval, for a table."""
    for name, one in dict(metrics).items():  # type: ignore[call-overload]
        if isinstance(one, dict) and isinstance(one.get("value"), (int, float)):
            return f"{name} {one['value']:.4f}"
    return ""
