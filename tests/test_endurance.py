"""A small run of :mod:`endurance`: what the caller's process holds does not grow with its use."""

import endurance

from phylozoo_parallel import MultiprocessingExecutor, ThreadingExecutor
from phylozoo_parallel._transport.processes import KEPT_REPLIES

DEATHS = 3


def use(executors, maps, failing, deaths):
    endurance.executors(executors)
    for executor in ThreadingExecutor(2), MultiprocessingExecutor(2):
        endurance.maps(executor, maps)
        endurance.failing_maps(executor, failing)
    endurance.deadly_maps(deaths)


def test_thousands_of_maps_leave_nothing_behind(wait_until):
    """But two empty folders of joblib's for each pool that fell, until the program ends."""
    use(8, 5, 5, 1)
    before = endurance.held()
    use(300, 1000, 50, DEATHS)
    slack = {"MB": 30, "threads": 3, "files": 3 + KEPT_REPLIES, "folders": 3 + 2 * DEATHS}

    def flat():
        now = endurance.held()
        return all(now[name] <= before[name] + slack[name] for name in slack)

    wait_until(flat)
