"""The states of a rollout and the ways between them. The diagram in docs/deployment.md shows the same."""

PENDING, LIVE, FAILED = "pending", "live", "failed"
PREPARING, CANARY, TESTING = "preparing", "canary", "testing"
SHIFTING, FINISHING, REVERTING = "shifting", "finishing", "reverting"

# Where a rollout can rest; in every other state somebody holds the lease, or died holding it.
RESTING = (PENDING, LIVE, FAILED)

TRANSITIONS: dict[str, tuple[str, ...]] = {
    PENDING: (PREPARING,),
    PREPARING: (CANARY, REVERTING),
    CANARY: (TESTING, REVERTING),
    TESTING: (SHIFTING, REVERTING),
    SHIFTING: (FINISHING, REVERTING),
    # All traffic is at a model that passed its test: there is no way back from here, only on.
    FINISHING: (LIVE,),
    REVERTING: (FAILED,),
    LIVE: (PREPARING,),
    FAILED: (PREPARING,),
}

NEXT = {state: ways[0] for state, ways in TRANSITIONS.items() if state not in RESTING}


def recorded_as(state: str) -> str:
    """The word for `state` in the registry's deployment record: pending, rolling, live or failed."""
    return state if state in RESTING else "rolling"
