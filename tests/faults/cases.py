"""The table of faults: what may go wrong, and what the caller is promised then."""

import sys

from . import actions
from .case import (
    ALL,
    BOTH,
    CRASH,
    LATE,
    LOST,
    Case,
    dying,
    raising,
    recovered,
    travelling,
)

CASES = [
    # The item raises
    raising("an error", actions.throw(ValueError("wrong", 7)), "ValueError", "('wrong', 7)"),
    raising(
        "a chained error",
        actions.throw_chained,
        "ValueError",
        "on top",
        shows=("KeyError: 'deep down'", "direct cause", "in throw_chained"),
        explained=True,
    ),
    raising(
        "a chain of 3000", actions.throw_long_chain, "ValueError", "2999", shows=(), explained=True
    ),
    raising(
        "a class of two arguments",
        actions.throw_two_arguments,
        "TwoArguments",
        "site 7: too many gaps",
        shows=("in throw_two_arguments",),
    ),
    raising(
        "one that holds a lock",
        actions.throw_with_lock,
        "WithLock",
        "too many gaps",
        shows=("in throw_with_lock",),
    ),
    raising("endless recursion", actions.recurse, "RecursionError", shows=("in recurse",)),
    raising(
        "arguments too deep to be pickled",
        actions.throw_nested,
        "RuntimeError",
        "ValueError",
        shows=("in throw_nested",),
        backends=BOTH[:1],
    ),
    raising(
        "a message of 100 MB",
        actions.throw_enormous,
        "ValueError",
        "xxx",
        length=100_000_000,
        shows=("in throw_enormous",),
    ),
    raising("MemoryError", actions.throw(MemoryError("no room")), "MemoryError", "no room"),
    raising(
        "StopIteration",
        actions.throw(StopIteration(7)),
        "RuntimeError",
        "StopIteration",
        shows=("in action", "item 7 = 7, in worker"),
        where="",
    ),
    raising("SystemExit", actions.throw(SystemExit(3)), "SystemExit", "3"),
    raising("KeyboardInterrupt", actions.throw(KeyboardInterrupt()), "KeyboardInterrupt"),
    raising("GeneratorExit", actions.throw(GeneratorExit("over")), "GeneratorExit", "over"),
    raising(
        "more memory than allowed",
        actions.run_out_of_memory,
        "MemoryError",
        shows=("in run_out_of_memory",),
        backends=BOTH[:1],
    ),
    # The worker dies
    dying("SIGKILL", actions.kill, actions.KILLED, runs=2),
    dying("SIGKILL among five items", actions.kill, actions.KILLED, runs=2, chunksize=5),
    dying("SIGKILL among ten", actions.kill, actions.KILLED, runs=2, chunksize=10),
    dying("SIGSEGV", actions.crash, actions.CRASHED, stderr=CRASH),
    dying("os._exit(3)", actions.leave, "3"),
    dying("os._exit(0)", lambda: actions.leave(0), "exit code 0"),
    dying("SIGABRT out of memory", actions.run_out_of_memory_and_abort, "SIGABRT", stderr=CRASH),
    dying(
        "100 MB half sent", actions.kill_while_a_large_result_is_sent, actions.KILLED, chunksize=1
    ),
    dying("half an answer sent", actions.kill_while_a_message_is_sent, actions.KILLED, chunksize=1),
    dying("retries=3", actions.kill, actions.KILLED, runs=4, settings={"retries": 3}),
    dying(
        "retries=0",
        actions.kill_after_the_others,
        actions.KILLED,
        runs=1,
        chunksize=1,
        settings={"retries": 0},
    ),
    dying(
        "retries=0 among ten",
        actions.kill,
        runs=1,
        chunksize=10,
        says=(actions.KILLED,),
        results=None,
        settings={"retries": 0},
        spares=False,
    ),
    recovered("SIGKILL", actions.kill),
    recovered("SIGKILL among ten items", actions.kill, chunksize=10),
    recovered("SIGSEGV", actions.crash, stderr=CRASH),
    recovered("os._exit(3)", actions.leave),
    recovered("100 MB half sent", actions.kill_while_a_large_result_is_sent, chunksize=1),
    recovered("half an answer sent", actions.kill_while_a_message_is_sent, chunksize=1),
    Case(
        "worker dies: idle, the next map starts at once", before=actions.kill_worker(0), warm=False
    ),
    Case("worker dies: idle, the other one", before=actions.kill_worker(1), warm=False),
    Case(
        "worker dies: idle, and joblib has noticed", before=actions.kill_worker_and_wait, warm=False
    ),
    Case(
        "worker dies: idle and noticed, retries=0",
        before=actions.kill_worker_and_wait,
        warm=False,
        settings={"retries": 0},
    ),
    Case("worker dies: while the program ends", last=actions.kill_worker_at_exit(0)),
    Case("worker dies: while the program ends, the other one", last=actions.kill_worker_at_exit(1)),
    Case("worker dies: just before the program ends", last=lambda _: actions.kill_worker(0)()),
    Case(
        "worker dies: just before the program ends, the other",
        last=lambda _: actions.kill_worker(1)(),
    ),
    Case("the program ends in the middle of a map", last=actions.leave_a_map, backends=BOTH),
    Case(
        "the program ends in the middle of a map, after a loss",
        actions.at_seven(actions.once(actions.kill)),
        last=actions.leave_a_map,
        warm=False,
    ),
    # The item takes too long
    Case(
        "item hangs, until Ctrl-C",
        actions.at_seven(actions.hang),
        before=actions.press_ctrl_c,
        raises="KeyboardInterrupt",
        results=None,
        warm=False,
        backends=BOTH,
    ),
    Case(
        "item hangs",
        actions.at_seven(actions.hang),
        says=("item 7",),
        runs=1,
        backends=BOTH,
        chunksize=1,
        **LATE,
    ),
    Case(
        "item hangs among ten",
        actions.at_seven(actions.hang),
        says=("item 7",),
        chunksize=10,
        **LATE,
    ),
    Case(
        "only together items take longer than one may",
        actions.slow,
        settings={"timeout": 2},
        chunksize=10,
        backends=BOTH,
    ),
    # The item travels
    travelling(
        "item fails to pickle",
        "PicklingError",
        "item 7",
        "these words",
        items=actions.item(pickling=actions.complain),
    ),
    travelling(
        "item hangs as it is pickled, until Ctrl-C",
        "KeyboardInterrupt",
        items=actions.item(pickling=actions.interrupted),
        results=None,
        warm=False,
    ),
    travelling(
        "item fails to unpickle",
        "UnpicklingError",
        "item 7",
        "these words",
        items=actions.item(unpickling=actions.complain),
    ),
    travelling(
        "item exits as it is unpickled",
        "UnpicklingError",
        "item 7",
        "these words",
        items=actions.item(unpickling=actions.complain_by_leaving),
    ),
    Case(
        "item ends the worker as it is unpickled",
        items=actions.item(unpickling=actions.leave),
        says=("item 7", "3"),
        **LOST,
    ),
    Case(
        "item crashes as it is unpickled",
        items=actions.item(unpickling=actions.crash),
        says=("item 7", actions.CRASHED),
        chunksize=5,
        stderr=CRASH,
        **LOST,
    ),
    Case(
        "item hangs as it is unpickled",
        items=actions.item(unpickling=actions.hang),
        says=("item 7",),
        **LATE,
    ),
    # The result travels
    travelling(
        "result fails to pickle",
        "PicklingError",
        "item 7",
        "these words",
        func=actions.result(pickling=actions.complain),
    ),
    travelling(
        "result fails to pickle among ten",
        "PicklingError",
        "item 7",
        "these words",
        func=actions.result(pickling=actions.complain),
        chunksize=10,
    ),
    Case(
        "result ends the worker as it is pickled",
        actions.result(pickling=actions.leave),
        says=("item 7", "3"),
        **LOST,
    ),
    Case(
        "result crashes as it is pickled",
        actions.result(pickling=actions.crash),
        says=("item 7", actions.CRASHED),
        chunksize=5,
        stderr=CRASH,
        **LOST,
    ),
    Case(
        "result hangs as it is pickled",
        actions.result(pickling=actions.hang),
        says=("item 7",),
        **LATE,
    ),
    travelling(
        "result fails to unpickle",
        "UnpicklingError",
        "item 7",
        "these words",
        func=actions.result(unpickling=actions.complain),
    ),
    travelling(
        "result hangs as it is unpickled, until Ctrl-C",
        "KeyboardInterrupt",
        func=actions.result(unpickling=actions.interrupted),
        results=None,
        warm=False,
    ),
    # The function travels
    travelling(
        "function fails to pickle",
        "PicklingError",
        "func = ",
        "these words",
        func=actions.function(pickling=actions.complain),
        results=0,
        ends=True,
    ),
    travelling(
        "function hangs as it is pickled, until Ctrl-C",
        "KeyboardInterrupt",
        func=actions.function(pickling=actions.interrupted),
        results=0,
        ends=True,
        warm=False,
    ),
    travelling(
        "function fails to unpickle",
        "UnpicklingError",
        "these words",
        func=actions.function(unpickling=actions.complain),
        results=0,
        ends=True,
    ),
    Case(
        "function ends the worker as it is unpickled",
        actions.function(unpickling=actions.leave),
        says=("item 0", "3"),
        results=0,
        ends=True,
        **LOST,
    ),
    Case(
        "function crashes as it is unpickled",
        actions.function(unpickling=actions.crash),
        says=("item 0", actions.CRASHED),
        results=0,
        ends=True,
        stderr=CRASH,
        **LOST,
    ),
    Case(
        "function hangs as it is unpickled",
        actions.function(unpickling=actions.hang),
        says=("item 0",),
        results=0,
        ends=True,
        **LATE,
    ),
    # The input
    *(
        Case(
            f"input raises instead of item {index}",
            items=actions.numbers_until(index, actions.complain),
            raises="ValueError",
            says=("these words",),
            results=index,
            ends=True,
            chunksize=chunksize,
            backends=BOTH,
        )
        for index, chunksize in [(0, None), (5, 3), (10, None)]
    ),
    Case(
        "input hangs, until Ctrl-C",
        items=actions.numbers_until(7, actions.interrupted),
        raises="KeyboardInterrupt",
        results=None,
        warm=False,
        backends=BOTH,
    ),
    Case(
        "input hangs, until a signal",
        items=actions.numbers_until(7, actions.alarmed),
        ends=True,
        raises="ValueError",
        says=("these words",),
        backends=BOTH,
    ),
    *(
        Case(f"input with a length of {length!r:.20}", items=actions.lying(length))
        for length in (0, 3, 1000, -1, 2**100, ValueError("none"))
    ),
    # The program
    Case("stdout and stderr closed before the first map", actions.talk, cold=actions.close_streams),
    Case(
        "stdout and stderr closed during the map", actions.lump, actions.closing_streams, alone=True
    ),
    Case(
        "no temporary directory", actions.lump, actions.lumps, cold=actions.no_temporary_directory
    ),
    Case("no room in files or memory", actions.lump, actions.lumps, cold=actions.no_room),
    Case("no shared memory", actions.lump, actions.lumps, cold=actions.no_shared_memory),
    Case(
        "neither shared memory nor a directory",
        actions.lump,
        actions.lumps,
        cold=actions.no_memory_at_all,
    ),
    Case(
        "no room at all during the map",
        actions.lump,
        actions.lumps,
        before=actions.no_more_room,
        healed=actions.more_room,
    ),
    Case("no file descriptor left", actions.lump, actions.lumps, before=actions.descriptors(0)),
    Case(
        "no file descriptor for workers",
        cold=actions.descriptors(6),
        healed=actions.more_descriptors,
        raises="OSError",
        says=("Too many open files",),
        results=0,
        ends=True,
    ),
]
CASES = [case._replace(results=ALL) if case.raises is None else case for case in CASES]
"""The table; a case that raises nothing has all its results."""
if sys.version_info >= (3, 11):
    CASES.insert(
        6,
        raising(
            "a group",
            actions.throw_group,
            "ExceptionGroup",
            "two of them",
            shows=("ValueError: one", "KeyError: 'two'", "in throw_group"),
        ),
    )


RUNS = [(case, backend) for case in CASES for backend in case.backends]
