"""What `__main__` may hold: each kind works in the worker as it does here, or is refused."""

import sys
import types

import pytest
from environments import ROOT
from main_kinds import REFUSED, TOLD, WORKS

pytestmark = pytest.mark.core


@pytest.fixture
def program(monkeypatch):
    """Run code as the main module of this process."""

    def run(code, name="<program>"):
        module = types.ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", module)
        exec(compile(code, name, "exec"), module.__dict__)
        return module

    return run


@pytest.mark.parametrize("kind", WORKS)
def test_an_object_means_the_same_in_the_worker(processes, program, kind):
    for package in "attrs", "lazy_loader", "six", "numpy":
        if f"import {package}" in WORKS[kind]:
            pytest.importorskip(package)
    if "of itertools" in kind and sys.version_info >= (3, 14):
        pytest.skip("they cannot be pickled any more")
    main = program(WORKS[kind])
    seen = list(processes.map(main.f, [1, 2]))
    assert seen == [main.f(1), main.f(2)]
    if hasattr(main, "check"):
        main.check(processes)


@pytest.mark.parametrize("kind", REFUSED)
def test_the_object_that_cannot_be_pickled_is_named(processes, program, kind):
    for package in "numpy", "msgspec":
        if package in kind:
            pytest.importorskip(package)
    main = program(REFUSED[kind])
    place, remedy = TOLD[kind]
    with pytest.raises(Exception, match="could not be pickled") as caught:
        processes.map(main.f, [1, 2])
    getattr(main, "close", int)()
    assert f"cannot pickle {place}" in str(caught.value)
    assert remedy in str(caught.value)


def test_each_row_of_the_documented_table_has_a_test():
    page = (ROOT / "docs" / "interface.md").read_text(encoding="utf-8")
    table = page.split("### What `__main__` may hold")[1].split("| in `__main__`")[1]
    rows = {}
    for line in table.splitlines()[2:]:
        if not line.startswith("|"):
            break
        _, kind, fate, _ = line.split("|")
        rows[kind.strip()] = fate.strip()
    refused = {kind for kind, fate in rows.items() if fate.startswith("refused")}
    assert refused == {kind.split(": ")[0] for kind in REFUSED}
    assert rows.keys() - refused == {kind.split(": ")[0] for kind in WORKS}


SURPRISES = {
    "no pickler": "del cloudpickle.Pickler",
    "another pickler": "cloudpickle.Pickler = type('Pickler', (), {})",
    "functions in another way": """
inner = cloudpickle.cloudpickle
inner._function_getstate = lambda func, real=inner._function_getstate: (*real(func), None)
inner._function_setstate = lambda func, state, real=inner._function_setstate: real(func, state[:2])
""",
    "classes in another way": """
inner = cloudpickle.cloudpickle
inner._dynamic_class_reduce = lambda obj: (type, (obj.__name__, (), {}))
""",
}


@pytest.mark.parametrize("surprise", SURPRISES)
def test_a_changed_cloudpickle_is_used_without_our_rules(run_script, surprise):
    done = run_script(f"""
import sys
import cloudpickle
{SURPRISES[surprise]}
from phylozoo_parallel._shipping.pickler import dumps
class Slotted: __slots__ = ("x",)
offset = 1
func = lambda item: (item + offset, Slotted)
assert len(dumps(func)) == len(cloudpickle.dumps(func))
""")
    assert "is not as this version of phylozoo-parallel knows it" in done.stderr


def test_our_rules_are_used_with_this_cloudpickle(run_script):
    done = run_script("""
from phylozoo_parallel._shipping.pickler import dumps
def func(item): return item
assert __file__.encode() in dumps(func)
""")
    assert done.stderr == ""
