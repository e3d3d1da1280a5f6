"""The registry's interface: what can be asked of it and done with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components.errors import DamagedError, NotFoundError, UserError
from kfp_bert_components.origin import Origin, here
from kfp_bert_components.registry import _read
from kfp_bert_components.registry._deployments import read_deployment, read_deployments, write_deployment
from kfp_bert_components.registry._identity import registry_id, repair_id
from kfp_bert_components.registry._mirrors import read_mirrors, write_mirror
from kfp_bert_components.registry._records import Champion, Deployment, HistoryEvent, Mirror, Version, repair_command
from kfp_bert_components.storage import Access, Generation, is_folder, open_store, parse_address

if TYPE_CHECKING:
    import numpy as np

    from kfp_bert_components.evaluation import Evaluation
    from kfp_bert_components.gate import Decision, Use
    from kfp_bert_components.registry._decisions import DecisionRecord
    from kfp_bert_components.registry._gc import Sweep
    from kfp_bert_components.registry._repair import Diagnosis


class Registry:
    """A folder, gs://, s3:// or local, that keeps promoted models; made by the first promotion.

    Args:
        uri: gs://bucket/folder, s3://bucket/folder or a local path.
        access: Credentials for gs://; by default the application default credentials.
        origin: Where what is written comes from; by default what the environment tells.
    """

    def __init__(self, uri: str, access: Access | None = None, origin: Origin | None = None) -> None:
        self.store = open_store(uri, access, "registry")
        self.uri = self.store.uri
        self._access = access
        self.origin = origin or here()

    def id(self, *, create: bool = True) -> str:
        """The registry's id, which never changes. A place that serves notes it, to know the registry that it belongs
        to.

        Args:
            create: Whether to write an id if there is none. If False, the answer is "" in this case.

        Raises:
            DamagedError: registry.json can't be read, or is gone while deployment records name the id.
        """
        return registry_id(self.store, create=create)

    def exists(self) -> bool:
        """Whether there is anything at the address; an empty folder of this machine is enough."""
        address = parse_address(self.uri)
        if (address.is_local and is_folder(address.path)) or self.store.folders():
            return True
        return self.store.exists("champion.json") or self.store.exists("registry.json")

    def check_exists(self) -> None:
        """Raise NotFoundError if there is nothing at the address."""
        if not self.exists():
            raise NotFoundError(f"{self.uri} is no registry: there is no such folder. Check the address.")

    def check_contents(self) -> None:
        """Raise UserError if something is at the address, but nothing that belongs to a registry."""
        from kfp_bert_components.registry._verify import check_names

        if not self.numbers() and (names := [entry.name for entry in self.store.list(checksums=False)]):
            check_names(self.store, names)

    def champion(self) -> Champion | None:
        """The version to serve, or None if nothing was promoted yet.

        Raises:
            DamagedError: champion.json can't be read, or is gone while versions that were champion are there.
        """
        return _read.read_champion(self.store)

    def require_champion(self) -> Champion:
        """The version to serve; UserError if nothing was promoted yet, or if there is no registry."""
        if self.champion() is None:
            self.check_exists()
        return _read.require_champion(self.store)

    def version(self, number: int) -> Version:
        """The record of one version; NotFoundError if there is none, or it never became complete."""
        return _read.read_version(self.store, number)

    def card(self, number: int) -> str:
        """The model card of a version, as Markdown with a YAML header; DamagedError where it can't be read."""
        self.version(number)
        name = f"versions/{number}/README.md"
        try:
            return self.store.read(name).data.decode()
        except UnicodeDecodeError:
            place = self.store.describe(name)
            raise DamagedError(f"{place} is damaged: it is no UTF-8; restore it from a backup.") from None

    def versions(self) -> list[Version]:
        """All complete versions, oldest first."""
        found = []
        for number in self.numbers():
            try:
                found.append(self.version(number))
            except NotFoundError:  # not complete, or just removed
                continue
        return found

    def numbers(self) -> list[int]:
        """The numbers under versions/, also of versions that are not complete, in ascending order."""
        return _read.version_numbers(self.store)

    def fetch_bundle(self, version: int, folder: Path) -> None:
        """Copy the bundle of a version to a folder, each file checked against the hash it was stored with.

        Raises:
            NotFoundError: The version is not there.
            UserError: It is damaged; names what is wrong, and the command that makes another version champion.
        """
        from kfp_bert_components.registry._files import fetch_part

        try:
            record = self.version(version)
        except NotFoundError:
            raise NotFoundError(
                f"The registry {self.uri} has no version {version}: restore it from a backup, or, if it is the "
                f"champion, run `{repair_command(self.store)}`."
            ) from None
        fetch_part(self.store, record, "bundle", folder)

    def fetch_promotion(self, version: int, folder: Path) -> None:
        """Copy the evaluation and the decision of a version's promotion to a folder, as `evaluation` and `decision`,
        each file checked.

        Raises:
            NotFoundError: The version is not there, or a file of it.
            UserError: It is damaged; names what is wrong.
        """
        from kfp_bert_components.registry._files import fetch_part

        for part in ("evaluation", "decision"):
            fetch_part(self.store, self.version(version), part, folder / part)

    def promote(self, bundle: Path, evaluation: Path, decision: Path, pin: str = "") -> int:
        """Store a model and make it champion, if the champion is still the one that it was compared with.

        If it is killed at any moment, it can be called again with the same arguments. If it is called again after it
        succeeded, it changes nothing.

        Args:
            bundle: Folder of the model.
            evaluation: Folder of its evaluation.
            decision: Folder of the decision, whose outcome must be PROMOTE.
            pin: What `pin_data` says the model was trained on, for the version's record; "" where it is not known.

        Returns:
            The model's version.

        Raises:
            ConflictError: Another model became champion since the comparison; names it.
            DamagedError: The pointer to the champion, or the registry's id, is lost or damaged.
            UserError: The decision is not PROMOTE, contradicts itself, or is about another model; or a file was
                changed since it was evaluated or compared.
        """
        from kfp_bert_components.registry._promotion import promote

        self.id(create=False)  # damaged, it would be in the way when the champion is moved
        number = promote(self.store, bundle, evaluation, decision, self.origin, pin)
        self.id()  # from the first version on
        return number

    def keep_pin(self, fingerprint: str, fields: Mapping[str, Any], run: str) -> tuple[str, str]:
        """Write down what there is to train on.

        Args:
            fingerprint: Its fingerprint, by which it is called, and by its sources.
            fields: The fields of its manifest.
            run: Name of this run.

        Returns:
            The address of the record, and the name of the run that was the first to write it.
        """
        from kfp_bert_components.registry._pins import keep_pin

        return keep_pin(self.store, fingerprint, fields, run)

    def keep_decision(self, decision: Decision, report: str = "") -> None:
        """Write down a decision, whatever its outcome is; one that is known stays as it is.

        Args:
            decision: The decision.
            report: Address of the comparison's page; "" where it is not known.
        """
        from kfp_bert_components.registry._decisions import keep_decision

        keep_decision(self.store, decision, report, self.origin)

    def decisions(self) -> list[DecisionRecord]:
        """The decisions that were written down, oldest first. Damaged records are left out; `verify` names them."""
        from kfp_bert_components.registry._decisions import read_decisions

        return read_decisions(self.store)

    def ask_approval(self, decision: Decision, hours: float) -> DecisionRecord:
        """Ask people to approve a decision; if called again, look whether they have answered.

        Args:
            decision: The decision; written down if it is not known yet.
            hours: How long they have to answer, from the first time that this is called.

        Raises:
            UserError: The record is about another model.
        """
        from kfp_bert_components.registry._decisions import ask_approval

        return ask_approval(self.store, decision, hours, self.origin)

    def answer_approval(self, decision_id: str, *, approve: bool, reason: str = "") -> DecisionRecord:
        """Answer a run that waits for approval; the first answer counts.

        Args:
            decision_id: Id of the decision.
            approve: Whether the model may become champion.
            reason: Why.

        Raises:
            NotFoundError: There is no such decision.
            UserError: No run asked, it was answered before, the time is over, or another model became champion since.
        """
        from kfp_bert_components.registry._decisions import answer_approval

        return answer_approval(self.store, decision_id, approve, reason, self.origin)

    def rollback(self, version: int | None = None, reason: str = "") -> Champion:
        """Make an older version champion, which also makes its deployment pending.

        Args:
            version: The version to go back to; by default the champion before this one.
            reason: Why, for the history.
        """
        from kfp_bert_components.registry._rollback import rollback

        return rollback(self.store, version, reason, self.origin)

    def rolled_back_from(self, fingerprint: str) -> Mapping[str, Any] | None:
        """The rollback that left a version with this model, if that version has not been champion since.

        Args:
            fingerprint: `bundle_fingerprint` of the model.

        Returns:
            The move, as in `Champion.log`: its `previous` is that version. None if there is none, or if the version is
            gone or damaged.
        """
        from kfp_bert_components.registry._rollback import rolled_back_from

        return rolled_back_from(self.store, fingerprint)

    def diagnose(self) -> Diagnosis:
        """Whether the champion is whole, and if it is not, which versions are; reads the files of all of them."""
        from kfp_bert_components.registry._repair import diagnose

        return diagnose(self.store)

    def repair(self, version: int) -> Champion:
        """If the champion is lost or damaged, make a version champion, which also makes its deployment pending.

        Args:
            version: A version that is whole; see `diagnose`.

        Raises:
            UserError: Nothing has to be repaired, or the version is not whole.
            ConflictError: The pointer was moved at the same moment.
        """
        from kfp_bert_components.registry._repair import repair

        return repair(self.store, version, self.origin)

    def repair_id(self) -> str:
        """If registry.json is lost or damaged, write it again, with the id that the deployment records name.

        Returns:
            The id that was written, "" where there was nothing to repair.

        Raises:
            UserError: The id is not known; says what to do.
        """
        return repair_id(self.store)

    def start_over(self) -> list[int]:
        """Remove all versions if none of them is whole: the next model is judged as the first model.

        Returns:
            The versions that were removed. Their numbers are not used again.

        Raises:
            UserError: Nothing has to be repaired, or there is a whole version.
        """
        from kfp_bert_components.registry._repair import start_over

        return start_over(self.store)

    def deployment(self, target: str) -> Deployment:
        """The record of one place that serves the champion; state "none" where there is no record."""
        return read_deployment(self.store, target)

    def deployments(self) -> tuple[dict[str, Deployment], list[str]]:
        """The records of all places by name, and one sentence for each record that can't be read."""
        return read_deployments(self.store)

    def record_deployment(
        self,
        target: str,
        state: str,
        version: int,
        reason: str = "",
        if_generation: Generation | None = None,
        details: dict[str, Any] | None = None,
        place: Mapping[str, str] | None = None,
        served: str = "",
    ) -> Deployment:
        """Write down how far a deployment is.

        Args:
            target: Its name, such as "production".
            state: "pending", "rolling", "live" or "failed".
            version: The version that it is about.
            reason: Why it failed, or what is going on.
            if_generation: Write only while the record has this generation (0: none). None: whatever it is.
            details: What to find again next time; None keeps what is there.
            place: The full identity of the place, as in `Deployment`; None keeps what is there.
            served: What the place calls the version; "" where that is not known yet.

        Raises:
            ConflictError: The record has another generation.
        """
        return write_deployment(
            self.store,
            target,
            state,
            version,
            reason,
            if_generation,
            details,
            place,
            served,
            self._known_id,
            origin=self.origin,
        )

    def mirrors(self) -> dict[str, Mirror]:
        """What each mirror was told last, by address; {} where there was never one.

        Raises:
            DamagedError: The record can't be read.
        """
        return read_mirrors(self.store)

    def record_mirror(self, address: str, mirror: Mirror | None) -> None:
        """Write down what a mirror was told.

        Args:
            address: Of the mirror.
            mirror: What it was told; when, by whom and where is filled in. None: forget the mirror.

        Raises:
            DamagedError: The record can't be read.
            ConflictError: Others kept changing it.
        """
        write_mirror(self.store, address, mirror, self.origin)

    def _known_id(self) -> str:
        """The id, "" where it can't be read: a record is written all the same."""
        try:
            return self.id(create=False)
        except UserError:
            return ""

    def deployment_pending(self, target: str) -> bool:
        """Whether there is a champion and the target's record does not say that it is live."""
        champion = self.champion()
        if champion is None:
            return False
        record = self.deployment(target)
        return (record.state, record.version) != ("live", champion.version)

    def count_use(self, test: Evaluation, alpha: float, identity: Mapping[str, Any]) -> tuple[Use, np.ndarray]:
        """Count a use of a test set, which spends a part of alpha.

        Test sets that share texts are one lineage, with one alpha for all of its uses.

        Args:
            test: An evaluation on the test set: the ids of its rows say which texts they have.
            alpha: What all uses of a lineage may spend together.
            identity: What is compared, in plain values. The same on the same test set again (a step that is tried
                again) is the same use.

        Returns:
            The use, and which rows may decide, bool [rows].

        Raises:
            DamagedError: The record of the uses is damaged, or lost, or lacks uses that versions were promoted by.
            UserError: The record is of an unknown format.
            ConflictError: Others kept changing the record.
        """
        from kfp_bert_components.registry._test_sets import count_use

        return count_use(self.store, test, alpha, identity)

    def repair_test_sets(self) -> list[str]:
        """If the record of the uses of test sets is lost or damaged, rebuild it from the versions.

        Returns:
            What was done, one sentence each; [] where there was nothing to repair.

        Raises:
            ConflictError: The record was changed at the same moment.
        """
        from kfp_bert_components.registry._test_set_repair import rebuild

        return rebuild(self.store)

    def targets(self) -> list[str]:
        """The names of all places with a deployment record."""
        return _read.targets(self.store)

    def history(self) -> list[HistoryEvent]:
        """Everything that happened, oldest first, in plain words.

        Deployment records that can't be read are left out; see `deployments`.
        """
        from kfp_bert_components.registry._history import history

        return history(self.store)

    def verify(self, version: int | None = None) -> list[str]:
        """What is wrong, one sentence each: all files are read and compared with their hashes.

        Args:
            version: Check only this version; by default all, what points to them, and what does not belong.

        Raises:
            UserError: The folder is no registry.
        """
        from kfp_bert_components.registry._verify import verify

        return verify(self.store, version)

    def gc(self, keep: int = 5, unfinished_hours: float = 24.0, *, dry_run: bool = False) -> Sweep:
        """Remove versions that nothing needs. The champion, the versions that rollback goes back to, and deployed
        versions stay.

        Args:
            keep: How many former champions to keep, the newest ones; at least 1.
            unfinished_hours: Age at which a version that never became champion and checkpoints are given up.
            dry_run: Only say what would be removed.

        Returns:
            What is kept and what is removed, with the reasons, and which deployment records can't be read.
        """
        from kfp_bert_components.registry._checkpoints import checkpoints_beside, old_checkpoints, remove_checkpoints
        from kfp_bert_components.registry._gc import collect, plan

        found = plan(self.store, keep, unfinished_hours)
        checkpoints = open_store(checkpoints_beside(self.uri), self._access)
        found.checkpoints = old_checkpoints(checkpoints, unfinished_hours, dry_run=dry_run)
        if not dry_run:
            remove_checkpoints(checkpoints, found.checkpoints)
            removed = collect(self.store, found)
            found.remove = {number: why for number, why in found.remove.items() if number in removed}
        return found
