"""A lease on a job that runs elsewhere: whoever waits for the job renews it, and the job ends where nobody does.

The lease is a small object beside what the job reads. It names all who wait for the job, the job itself and, while
there is none yet, who is about to start it: so one key has one job, and who is told to stop leaves the job to the
others. Each of them writes it every 30 s, by compare-and-swap, with a count of its own that grows. The job looks at the
object. It ends when it has seen the same generation, look by look, for longer than those allow who are named in it.

No two clocks have to agree: each side measures, by a clock of its own, only how long it has itself seen the object, or
the count of another one, unchanged. Times that a store notes are of no use for that, as those of a folder come from the
machines that write. Time in which the store could not be read does not count, and neither does time in which this
machine slept: afterwards the other side first gets its time to write. A job that is started again begins to count anew.

A job whose containers don't look, as those of batch prediction, is not ended so: there the object says who waits.
"""

from kfp_bert_components.leases.record import (
    FORMAT,
    LEASE,
    LeaseRecord,
    Waiter,
    change_lease,
    named,
    read_lease,
    take_out,
)
from kfp_bert_components.leases.waiting import Lease
from kfp_bert_components.leases.watching import Watch, ended_when_abandoned

__all__ = [
    "FORMAT",
    "LEASE",
    "Lease",
    "LeaseRecord",
    "Waiter",
    "Watch",
    "change_lease",
    "ended_when_abandoned",
    "named",
    "read_lease",
    "take_out",
]
