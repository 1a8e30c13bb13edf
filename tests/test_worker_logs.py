"""Log records of worker processes reach the caller's loggers."""

import logging
import os
import re
import threading

import pytest

from phylozoo_parallel import MultiprocessingExecutor

pytestmark = pytest.mark.core

log = logging.getLogger("tests.workers")


def tell(item):
    log.info("item %d", item)
    log.debug("too much")
    return item


def catch(item):
    try:
        1 // item
    except ZeroDivisionError:
        log.exception("caught")


class Trap:
    """Can be unpickled anywhere but where it was made."""

    def __init__(self, pid):
        self.pid = pid

    def __reduce__(self):
        return sprung, (self.pid, os.getpid())


def sprung(pid, maker):
    if os.getpid() == pid != maker:
        raise ValueError("not here")
    return Trap(pid)


@pytest.fixture
def told(caplog):
    """Return the messages of the records that the caller's handlers got."""
    caplog.set_level(logging.INFO)

    def messages():
        return [it.getMessage() for it in caplog.records if it.name != "phylozoo_parallel"]

    return messages


class TestRecords:
    def test_records_reach_the_callers_handlers(self, executor, told):
        assert list(executor.map(tell, range(20))) == list(range(20))
        assert sorted(told(), key=lambda text: int(text.split()[1])) == [
            f"item {item}" for item in range(20)
        ]

    def test_records_name_their_worker_process(self, processes, told, caplog):
        list(processes.map(tell, range(4), 1))
        for record in caplog.records:
            assert re.fullmatch(r"LokyProcess-\d+(:\d+)*", record.processName)
            assert record.process != os.getpid()
            assert (record.funcName, record.filename) == ("tell", os.path.basename(__file__))

    def test_records_arrive_before_the_results_are_handed_out(self, executor, told):
        results = executor.map(tell, range(3), 1)
        for item in range(3):
            assert next(results) == item
            assert f"item {item}" in told()

    def test_records_of_one_item_are_in_order(self, executor, told):
        def count(item):
            for step in range(10):
                log.info("%d %d", item, step)

        list(executor.map(count, range(6), 2))
        for item in range(6):
            mine = [it.split()[1] for it in told() if it.startswith(f"{item} ")]
            assert mine == [str(step) for step in range(10)]

    def test_records_of_a_failed_item_arrive(self, executor, told):
        def fail(item):
            log.info("before")
            raise KeyError(item)

        with pytest.raises(KeyError):
            list(executor.map(fail, [1]))
        assert told() == ["before"]

    def test_records_arrive_when_results_cannot_be_pickled(self, processes, told):
        def fail(item):
            log.info("before")
            return threading.Lock()

        with pytest.raises(Exception, match="result of item 0"):
            list(processes.map(fail, [1]))
        assert "before" in told()

    def test_records_with_unpicklable_attributes_arrive_as_text(self, executor, told, caplog):
        lock = "threading.Lock()"

        def odd(item):
            own = threading.Lock() if lock else None
            log.info("%r %s", own, item, extra={"sample": own, "number": item})

        list(executor.map(odd, [1, 2], 1))
        assert [it.number for it in sorted(caplog.records, key=lambda it: it.number)] == [1, 2]
        assert all(
            "lock" in text and "lock" in str(it.sample)
            for text, it in zip(told(), caplog.records, strict=True)
        )

    def test_records_that_cannot_be_unpickled_are_reported(self, processes, caplog):
        caplog.set_level(logging.INFO)
        trap = Trap(os.getpid())
        results = processes.map(lambda item: log.info("odd", extra={"trap": trap}), [1, 2])
        assert list(results) == [None, None]
        texts = [it.getMessage() for it in caplog.records if it.levelname == "WARNING"]
        assert texts
        assert all("ValueError: not here" in text for text in texts)

    def test_a_handler_that_raises_costs_no_result(self, processes, caplog):
        class Raises(logging.Handler):
            def emit(self, record):
                raise ValueError("of the handler")

        handler = Raises()
        log.addHandler(handler)
        try:
            results = processes.map(lambda item: log.error("%d", item) or item, range(8), 2)
            assert list(results) == list(range(8))
        finally:
            log.removeHandler(handler)
        texts = [it.getMessage() for it in caplog.records if it.levelname == "WARNING"]
        assert "ValueError: of the handler" in texts[0]

    def test_records_with_a_traceback_carry_its_text(self, executor, told, caplog):
        list(executor.map(catch, [0]))
        assert "ZeroDivisionError" in caplog.text
        assert "1 // item" in caplog.text
        assert told() == ["caught"]

    def test_records_whose_arguments_do_not_fit_are_reported(self, processes, told, capfd):
        def wrong(item):
            log.info("%d", "text")
            log.info("right")
            return item

        assert list(processes.map(wrong, [1])) == [1]
        assert told() == ["right"]

    def test_records_of_threads_that_an_item_starts_arrive(self, processes, told):
        def threaded(item):
            thread = threading.Thread(target=log.info, args=("from a thread",))
            thread.start()
            thread.join()

        list(processes.map(threaded, [1]))
        assert told() == ["from a thread"]

    def test_records_of_maps_inside_workers_arrive(self, processes, told):
        def inner(item):
            return list(MultiprocessingExecutor(2).map(tell, [item]))

        assert list(processes.map(inner, [1, 2], 1)) == [[1], [2]]
        assert sorted(told()) == ["item 1", "item 2"]


class TestLevels:
    def test_a_loggers_level_holds_in_workers(self, executor, caplog):
        caplog.set_level(logging.ERROR)
        caplog.set_level(logging.DEBUG, "tests.workers")
        list(executor.map(tell, [1]))
        assert [it.levelname for it in caplog.records if it.name == "tests.workers"] == [
            "INFO",
            "DEBUG",
        ]

    def test_a_parent_loggers_level_holds_in_workers(self, executor, caplog):
        caplog.set_level(logging.ERROR)
        caplog.set_level(logging.INFO, "tests")
        list(executor.map(tell, [1]))
        assert [it.getMessage() for it in caplog.records if it.name == log.name] == ["item 1"]

    def test_isenabledfor_answers_as_in_the_caller(self, executor, caplog):
        caplog.set_level(logging.INFO)
        ask = [logging.DEBUG, logging.INFO]
        found = list(executor.map(log.isEnabledFor, ask))
        assert found == [False, True]

    def test_logging_disable_holds_in_workers(self, executor, told):
        logging.disable(logging.INFO)
        try:
            list(executor.map(tell, [1]))
        finally:
            logging.disable(logging.NOTSET)
        assert told() == []
        list(executor.map(tell, [1]))
        assert told() == ["item 1"]

    def test_level_names_of_the_caller_are_kept(self, executor, caplog):
        logging.addLevelName(25, "NOTICE")
        caplog.set_level(logging.INFO)
        list(executor.map(lambda _: log.log(25, "notice"), [1]))
        assert [it.levelname for it in caplog.records if it.name == log.name] == ["NOTICE"]

    def test_levels_do_not_reach_other_tasks_of_the_workers(self, processes, caplog):
        import joblib

        caplog.set_level(logging.DEBUG)
        caplog.set_level(logging.DEBUG, "tests.workers")
        list(processes.map(tell, range(8), 1))

        def level():
            import logging

            return logging.root.level, logging.getLogger("tests.workers").getEffectiveLevel()

        found = joblib.Parallel(n_jobs=2)(joblib.delayed(level)() for _ in range(8))
        assert set(found) == {(logging.WARNING, logging.WARNING)}


class TestHandlers:
    def test_handlers_of_a_logger_that_does_not_propagate_get_its_records(self, executor, caplog):
        heard = []

        class Own(logging.Handler):
            def emit(self, record):
                heard.append(record.getMessage())

        own, handler = logging.getLogger("tests.apart"), Own()
        own.addHandler(handler)
        own.setLevel(logging.INFO)
        own.propagate = False
        try:
            list(executor.map(lambda _: logging.getLogger("tests.apart").info("apart"), [1, 2]))
        finally:
            own.removeHandler(handler)
            own.propagate = True
            own.setLevel(logging.NOTSET)
        assert heard == ["apart"] * 2
        assert caplog.records == []

    def test_handlers_apply_their_own_levels_and_filters(self, executor, caplog):
        caplog.set_level(logging.INFO)

        def odd(record):
            return record.getMessage()[-1] in "13579"

        caplog.handler.addFilter(odd)
        try:
            list(executor.map(tell, range(4)))
        finally:
            caplog.handler.removeFilter(odd)
        texts = [it.getMessage() for it in caplog.records if it.name == log.name]
        assert sorted(texts) == ["item 1", "item 3"]

    def test_filters_of_loggers_apply(self, executor, caplog):
        caplog.set_level(logging.INFO)

        def mark(record):
            record.mark = "of the caller"
            return record.getMessage() != "item 1"

        log.addFilter(mark)
        try:
            list(executor.map(tell, range(3)))
        finally:
            log.removeFilter(mark)
        found = [it for it in caplog.records if it.name == log.name]
        assert sorted(it.getMessage() for it in found) == ["item 0", "item 2"]
        assert {it.mark for it in found} == {"of the caller"}

    def test_handlers_of_a_script_get_the_records(self, run_script):
        done = run_script(
            """
            import logging
            from phylozoo_parallel import MultiprocessingExecutor

            logging.basicConfig(
                level=logging.INFO, format="%(levelname)s %(processName)s %(message)s"
            )
            log = logging.getLogger("script")

            def work(item):
                log.info("working on %s", item)
                return item

            print(list(MultiprocessingExecutor(2).map(work, range(3), 1)))
            """
        )
        lines = sorted(done.stderr.splitlines(), key=lambda line: line[-1])
        assert [re.sub(r"-\d+", "-N", line) for line in lines] == [
            f"INFO LokyProcess-N working on {item}" for item in range(3)
        ]

    def test_records_without_any_handler_are_shown_as_in_the_caller(self, run_script):
        """Python's last resort shows warnings on the caller's standard error."""
        done = run_script(
            """
            import logging, sys
            from phylozoo_parallel import MultiprocessingExecutor

            def work(item):
                logging.getLogger("script").info("too little")
                logging.getLogger("script").warning("careful")

            sys.stderr = sys.stdout
            list(MultiprocessingExecutor(2).map(work, [1]))
            """
        )
        assert done.stdout == "careful\n"

    def test_a_handler_that_a_module_adds_in_both_processes_writes_once(self, run_script, tmp_path):
        (tmp_path / "noisy.py").write_text(
            "import logging\n"
            "log = logging.getLogger('noisy')\n"
            "log.addHandler(logging.StreamHandler())\n"
            "log.addHandler(logging.FileHandler('noisy.log'))\n"
            "log.propagate = False\n"
            "def work(item):\n"
            "    log.warning('noise %d', item)\n"
        )
        done = run_script(
            """
            import os
            os.chdir(os.path.dirname(os.path.abspath(__file__)))
            import noisy
            from phylozoo_parallel import MultiprocessingExecutor

            list(MultiprocessingExecutor(2).map(noisy.work, range(3), 1))
            """
        )
        expected = ["noise 0", "noise 1", "noise 2"]
        assert sorted(done.stderr.splitlines()) == expected
        assert sorted((tmp_path / "noisy.log").read_text().splitlines()) == expected

    def test_a_handler_that_only_the_worker_has_gets_the_records_too(self, run_script, tmp_path):
        """For example one of an initializer, which makes each worker write a file."""
        done = run_script(
            """
            import logging, os
            import joblib
            from phylozoo_parallel import MultiprocessingExecutor

            folder = os.path.dirname(os.path.abspath(__file__))

            def write(folder):
                logging.getLogger().addHandler(
                    logging.FileHandler(os.path.join(folder, f"{os.getpid()}.log"))
                )

            def work(item):
                logging.getLogger("script").info("item %d", item)

            logging.basicConfig(level=logging.INFO, format="%(message)s")
            with joblib.parallel_config("loky", initializer=write, initargs=(folder,)):
                list(MultiprocessingExecutor(2).map(work, range(4), 1))
            """
        )
        expected = [f"item {item}" for item in range(4)]
        assert sorted(done.stderr.splitlines()) == expected
        texts = [path.read_text() for path in tmp_path.glob("*.log")]
        assert sorted("".join(texts).splitlines()) == expected

    def test_captured_warnings_reach_the_handlers(self, run_script):
        done = run_script(
            """
            import logging, warnings
            from phylozoo_parallel import MultiprocessingExecutor

            logging.basicConfig(format="%(name)s %(message)s")
            logging.captureWarnings(True)

            def work(item):
                warnings.warn("odd")

            list(MultiprocessingExecutor(2).map(work, range(4), 1))
            """
        )
        first = done.stderr.splitlines()[0]
        assert first.startswith("py.warnings ")
        assert first.endswith("UserWarning: odd")
        assert done.stderr.count("odd") == 1 + done.stderr.count('warnings.warn("odd")')


def test_records_of_other_tasks_stay_in_the_worker(processes, caplog):
    """A task of the user's own Parallel between two maps does not send its records."""
    import joblib

    caplog.set_level(logging.INFO)
    list(processes.map(tell, range(8), 1))
    caplog.clear()
    joblib.Parallel(n_jobs=2)(joblib.delayed(tell)(item) for item in range(8))
    list(processes.map(abs, range(8), 1))
    assert [it.getMessage() for it in caplog.records if it.name == log.name] == []
