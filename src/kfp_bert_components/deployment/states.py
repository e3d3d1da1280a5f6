"""The states of a rollout and the transitions between them. The diagram in docs/deployment.md shows the same."""

PENDING, LIVE, FAILED = "pending", "live", "failed"
PREPARING, INTRODUCING, TESTING = "preparing", "introducing", "testing"
SHIFTING, FINISHING, REVERTING = "shifting", "finishing", "reverting"

# No rollout is under way. In every other state a run holds the lease, or stopped before the end.
IDLE = (PENDING, LIVE, FAILED)

TRANSITIONS: dict[str, tuple[str, ...]] = {
    PENDING: (PREPARING,),
    PREPARING: (INTRODUCING, REVERTING),
    INTRODUCING: (TESTING, REVERTING),
    TESTING: (SHIFTING, REVERTING),
    SHIFTING: (FINISHING, REVERTING),
    # All traffic is at a model that passed its test: it is not reverted any more. It fails only where somebody else
    # changed the place, so that it is not what serves.
    FINISHING: (LIVE, FAILED),
    REVERTING: (FAILED,),
    LIVE: (PREPARING, FAILED),  # failed where somebody else owns the place now
    FAILED: (PREPARING,),
}

NEXT = {state: after[0] for state, after in TRANSITIONS.items() if state not in IDLE}


def recorded_as(state: str) -> str:
    """The word for `state` in the registry's deployment record: pending, rolling, live or failed."""
    return state if state in IDLE else "rolling"
