"""`kfp-bert registry`: look at a registry, go back to an older version, tell mirrors, check it, repair it, clean it."""

import json
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from kfp_bert_components.cli.groups import Group, example
from kfp_bert_components.cli.registry_list import (
    first_metric,
    mirror_command,
    mirror_lines,
    notes_on,
    place_and_number,
    version_lines,
    versions_as_json,
)
from kfp_bert_components.plain import plain

if TYPE_CHECKING:
    from kfp_bert_components.registry import Deployment, Mirror, Registry

_SCORES = "Each score was measured when its version was promoted. Scores of different test sets can't be compared."


@click.group("registry", cls=Group, epilog=example("kfp-bert registry list gs://my-bucket/registry"))
def command() -> None:
    """Look at a registry, go back to an older version, tell mirrors, and check, repair or clean the registry.

    REGISTRY is a gs:// or s3:// URI, or a local folder.
    """


@command.command("list", epilog=example("kfp-bert registry list gs://my-bucket/registry --json"))
@click.argument("registry")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_(registry: str, as_json: bool) -> None:
    """List the versions and where they are deployed.

    `live on production as 4` says what the place calls the version: the number of its folder in a serving directory, or
    the id of a deployed model. A score was measured on the test set with which the version was promoted. So two scores
    can be compared only if the test set stayed the same.
    """
    from kfp_bert_components.errors import DamagedError, UserError

    models = _open(registry)
    champion = None
    records, problems = models.deployments()
    try:
        champion = models.champion()
    except DamagedError as error:
        problems.append(str(error))
    mirrors: dict[str, Mirror] = {}
    try:
        mirrors = models.mirrors()
    except UserError as error:
        problems.append(str(error))
    number = champion.version if champion else None
    if as_json:
        told = {"mirrors": {address: asdict(one) for address, one in mirrors.items()}}
        click.echo(json.dumps(versions_as_json(models, number, records) | told, indent=1, default=dict))
    else:
        lines = version_lines(models, number, records) or [f"The registry {models.uri} holds no version yet."]
        for line in lines:
            click.echo(plain(line))
        if len(lines) > 1:
            click.echo(_SCORES, err=True)
        for line in mirror_lines(models, number, mirrors):
            click.echo(plain(line))
    _stop_for(problems)


def _stop_for(problems: list[str]) -> None:
    """End with a failure that names them, if there are problems."""
    from kfp_bert_components.errors import DamagedError

    if problems:
        raise DamagedError(" ".join(problems))


def _open(registry: str) -> "Registry":
    """A registry; UserError where there is nothing at its address, or something else."""
    from kfp_bert_components.registry import Registry

    models = Registry(registry)
    models.check_exists()
    models.check_contents()
    return models


@command.command(epilog=example("kfp-bert registry show gs://my-bucket/registry 3"))
@click.argument("registry")
@click.argument("version", type=int, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the version's record as JSON.")
def show(registry: str, version: int | None, as_json: bool) -> None:
    """Show the model card of VERSION, by default the champion's."""
    models = _open(registry)
    record = models.version(models.require_champion().version if version is None else version)
    if as_json:
        click.echo(json.dumps(asdict(record), indent=1, default=dict))
        return
    for line in models.card(record.version).split("\n"):  # a card of an older version may hold anything
        click.echo(plain(line))


@command.command(epilog=example("kfp-bert registry history gs://my-bucket/registry"))
@click.argument("registry")
@click.option("--run", help="Only what this run did: its id, name, workflow, folder or page.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def history(registry: str, run: str | None, as_json: bool) -> None:
    """List what happened to the registry, oldest first, and which run or person did it."""
    from kfp_bert_components.origin import read_origin

    if run is not None and not run.strip():
        raise click.UsageError("--run is empty: give the id of a run, or leave the option out.")
    models = _open(registry)
    events, (_, problems) = models.history(), models.deployments()
    events = [event for event in events if not run or read_origin(event.origin).is_of(run)]
    if as_json:
        click.echo(json.dumps([asdict(event) for event in events], indent=1, default=dict))
    for event in () if as_json else events:
        by = f"{event.by}, run {made}" if (made := read_origin(event.origin).run) else event.by
        click.echo(plain(f"{event.at[:19]}Z  {event.text} ({by})"))
    if not events and not as_json:
        click.echo(f"Nothing was done by run {plain(run)}." if run else "Nothing has happened yet.")
    _stop_for(problems)


@command.command(epilog=example("kfp-bert registry rollback gs://my-bucket/registry --reason 'wrong labels'"))
@click.argument("registry")
@click.option("--to", "version", type=int, help="Version to go back to. Default: the champion before this one.")
@click.option("--reason", default="", help="Reason, for the history.")
def rollback(registry: str, version: int | None, reason: str) -> None:
    """Make an older version champion; the next pipeline run or deployment then deploys it.

    For each place where it has to be deployed, the command for that is printed.
    """
    models = _open(registry)
    deployments = models.deployments()  # what can't be read ends this before anything is changed
    champion = models.rollback(version, reason)
    click.echo(f"The champion is version {champion.version}.")
    left = champion.log[-1]["previous"]
    click.echo(
        f"A run that makes the model of version {left} again does not promote it. Other models are compared as usual."
    )
    _say_what_to_deploy(models, champion.version, *deployments)


@command.command(epilog=example("kfp-bert registry approve gs://my-bucket/registry 0f8fad5bd9cb469fa16570867728950e"))
@click.argument("registry")
@click.argument("decision", required=False)
@click.option("--reason", default="", help="Reason, for the history.")
def approve(registry: str, decision: str | None, reason: str) -> None:
    """Let the model of DECISION become champion; its run waits for this answer. Without DECISION, list what waits.

    The first answer counts. It is recorded with your user name and the name of this machine.
    """
    if decision is None:
        _list_waiting(registry)
    else:
        _answer(registry, decision, True, reason)


@command.command(
    epilog=example("kfp-bert registry reject gs://my-bucket/registry 0f8fad5bd9cb469fa16570867728950e --reason 'no'")
)
@click.argument("registry")
@click.argument("decision")
@click.option("--reason", required=True, help="Reason, for the history.")
def reject(registry: str, decision: str, reason: str) -> None:
    """Do not let the model of DECISION become champion: its run, which waits for an answer, ends with HOLD."""
    _answer(registry, decision, False, reason)


def _list_waiting(registry: str) -> None:
    from kfp_bert_components.steps.wait_for_approval import question

    models = _open(registry)
    waiting = [one for one in models.decisions() if one.approval and one.approval.open]
    for one in waiting:
        for line in question(models.uri, one):
            click.echo(plain(line))
    if not waiting:
        click.echo(f"Nothing waits for approval in {models.uri}.")


def _answer(registry: str, decision: str, approve: bool, reason: str) -> None:
    record = _open(registry).answer_approval(decision, approve=approve, reason=reason)
    assert record.approval is not None
    click.echo(plain(record.reason))
    then = "The run goes on and promotes the model." if approve else "The run goes on and promotes nothing."
    click.echo(plain(f"{record.approval.state.capitalize()} by {record.approval.by}. {then}"))


@command.command(epilog=example("kfp-bert registry repair gs://my-bucket/registry"))
@click.argument("registry")
@click.option("--version", type=int, help="Version to make champion. Default: ask.")
@click.option("--start-over", is_flag=True, help="If no version is whole: remove all versions and begin with none.")
def repair(registry: str, version: int | None, start_over: bool) -> None:
    """If the champion is lost or damaged, make a version champion.

    A lost or damaged registry.json is also written again, if a deployment record names the registry's id. A lost or
    damaged record of the uses of test sets is rebuilt from the versions. If nothing is lost or damaged, nothing is
    changed.
    """
    from kfp_bert_components.errors import UserError

    models, problem, identity = _open(registry), None, ""
    try:
        if identity := models.repair_id():
            click.echo(f"registry.json is written anew: the registry's id is {identity}.")
    except UserError as error:
        problem = error
    for line in (lines := models.repair_test_sets()):
        click.echo(plain(line))
    _repair_champion(models, version, start_over, silent=bool(identity or problem or lines))
    if problem:
        raise problem


def _repair_champion(models: "Registry", version: int | None, start_over: bool, *, silent: bool) -> None:
    """The rest of `repair`; `silent` says nothing where the champion is whole."""
    from kfp_bert_components.cli.taken_over import TakenOver
    from kfp_bert_components.errors import UserError

    found = models.diagnose()
    if not found.problem and silent:
        return
    if not found.problem:
        champion = models.champion()
        now = f"the champion, version {champion.version}, is whole" if champion else "it has no champion yet"
        click.echo(f"There is nothing to repair in {models.uri}: {now}.")
        return
    click.echo(plain(found.problem))
    for number, why in found.damaged.items():
        click.echo(plain(f"version {number} can't be champion: {why}"))
    if start_over:
        removed = models.start_over()
        click.echo(f"Removed: {', '.join(map(str, removed)) or 'nothing'}. The next model is judged as the first one.")
        return
    if not found.whole:
        raise UserError(
            f"No version of {models.uri} is whole: restore one from a backup, or give --start-over, which removes "
            "them all, so that the next model is judged as the first one."
        )
    records, problems = models.deployments()
    gone = TakenOver(records)
    for one in found.whole:
        notes = ", ".join(
            note for name, record in records.items() for note in notes_on(name, record, one.version, gone)
        )
        shown = f"version {one.version} is whole: {one.at[:19]}Z  {first_metric(one.metrics):<22}  {notes}"
        click.echo(plain(shown.rstrip()))
    whole, there = [one.version for one in found.whole], [one for one in records.values() if one not in gone]
    live = [number for number in whole if any(record.live_version == number for record in there)]
    champion = models.repair(_ask((live or whole)[-1]) if version is None else version)
    click.echo(f"The champion is version {champion.version}.")
    _say_what_to_deploy(models, champion.version, records, problems)


def _ask(default: int) -> int:
    from kfp_bert_components.errors import UserError

    try:
        return int(click.prompt("Version to make champion", type=int, default=default))
    except click.Abort:
        raise UserError(
            f"Nothing was changed: give the version to make champion, such as --version {default}."
        ) from None


def _say_what_to_deploy(
    models: "Registry", champion: int, records: dict[str, "Deployment"], damaged: list[str]
) -> None:
    """For each place where the champion is not live, the command that deploys it."""
    from kfp_bert_components.cli.deploy_command import cluster_of, deploy_command
    from kfp_bert_components.cli.taken_over import TakenOver
    from kfp_bert_components.errors import UserError

    gone = TakenOver(records)
    for target, record in records.items():
        if (record.state, record.version) != ("live", champion) and record not in gone:
            _say_command(f"It has to be deployed to {target}", deploy_command(models.uri, record), cluster_of(record))
        for one in record.elsewhere():
            if one.live_version not in (None, champion) and one not in gone:
                where = (
                    f"Version {one.live_version} is live on {target}, {place_and_number(one)}; if that is still used"
                )
                _say_command(f"{where}, it has to be deployed there", deploy_command(models.uri, one), cluster_of(one))
    for problem in damaged:
        click.echo(plain(f"It may have to be deployed elsewhere too: {problem}"))
    try:
        if models.mirrors():
            _say_command("Mirrors have to be told", mirror_command(models))
    except UserError as error:
        click.echo(plain(f"Mirrors may have to be told: {error}"))


def _say_command(what: str, command: str, cluster: str = "") -> None:
    if not command:
        click.echo(plain(f"{what}."))
        return
    click.echo(f"{plain(what)}:\n\n    {plain(command)}\n")
    if cluster:
        click.echo(f"Run it with the kubeconfig of {plain(cluster)}.")
    for component, setting in (("deploy_to_ai_platform", "machine_type"), ("deploy_to_kserve", "image and storage")):
        if component in command:
            click.echo(f"Add the settings that your pipeline gives, such as {setting}.")


@command.command(
    epilog=example("kfp-bert registry mirror gs://my-bucket/registry --to mlflow+https://mlflow.example.com")
)
@click.argument("registry")
@click.option("--to", "addresses", multiple=True, help="A mirror to tell. Default: all mirrors that were told before.")
@click.option("--forget", multiple=True, help="A mirror that is not used any more: forget it here.")
def mirror(registry: str, addresses: tuple[str, ...], forget: tuple[str, ...]) -> None:
    """Tell mirrors which versions were promoted and which one is champion.

    A mirror is a registry of another system that promote_model tells of promotions: mlflow+https://HOST or
    model-registry+https://HOST. Add #NAME at the end if the registered model has another name there than the
    registry's. What a mirror knows already stays as it is.
    """
    from kfp_bert_components.cli.groups import known
    from kfp_bert_components.errors import UserError
    from kfp_bert_components.mirrors import mirror, parse_mirrors

    models = _open(registry)
    there = list(models.mirrors())
    for address in forget:
        models.record_mirror(known("mirror", address, there), None)
        click.echo(plain(f"{address} is forgotten here; nothing was changed there."))
    mirrors = parse_mirrors(addresses or ([] if forget else there), models.uri)
    if not mirrors and not forget:
        raise UserError(f"{models.uri} has no mirror yet: name one with --to.")
    if mirrors:
        models.require_champion()
    if problems := mirror(models, mirrors):
        raise UserError(" ".join(problems))


@command.command(epilog=example("kfp-bert registry verify gs://my-bucket/registry"))
@click.argument("registry")
@click.option("--version", type=int, help="Check only this version.")
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON instead of lines.")
def verify(registry: str, version: int | None, as_json: bool) -> None:
    """Read every file and compare it with its stored hash."""
    from kfp_bert_components.errors import UserError
    from kfp_bert_components.registry import Registry

    with redirect_stdout(sys.stderr if as_json else sys.stdout):  # the progress
        problems = Registry(registry).verify(version)
    if as_json:
        click.echo(json.dumps({"problems": problems}, indent=1))
    for problem in () if as_json else problems:
        click.echo(plain(problem))
    if problems:
        raise UserError(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} found in {registry}.")
    if not as_json:
        click.echo("Everything is as it was stored.")


@command.command(epilog=example("kfp-bert registry gc gs://my-bucket/registry --dry-run"))
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
    """Remove versions that nothing needs. The champion, the versions that rollback goes back to, and deployed versions
    stay.

    The training checkpoints beside the registry are removed too, if no run has written one for --unfinished-hours.
    """
    found = _open(registry).gc(keep, unfinished_hours, dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    lines = {number: f"kept     {number}: {why}" for number, why in found.keep.items()}
    lines |= {number: f"{verb}  {number}: {why}" for number, why in found.remove.items()}
    for number in sorted(lines):
        click.echo(plain(lines[number]))
    for folder, hours in found.checkpoints.items():
        click.echo(plain(f"{verb}  checkpoints {folder}: nothing written for {hours:.0f} hours"))
    for problem in found.unclear:
        click.echo(plain(f"Former champions are kept, as they may be deployed: {problem}"))
    if not lines and not found.checkpoints:
        click.echo("There is nothing to remove.")
