"""
What a script, a notebook or a prompt may hold: one program a kind.

Each program defines ``f``, and maps it over 1 and 2; the worker has to return what ``f`` returns
where it was defined. ``check``, where there is one, then looks at the caller's own objects.
"""

from textwrap import dedent

WORKS = {
    "`functools.cached_property`: functools.cached_property": """
        import functools
        class Tree:
            def __init__(self, n): self.n = n
            @functools.cached_property
            def leaves(self): return [self.n]
        kept = Tree(5)
        def f(i):
            tree = Tree(i)
            return tree.leaves is tree.leaves, tree.leaves, kept.leaves
    """,
    "`functools.cached_property`: subclass of functools.cached_property": """
        import functools
        class lazy(functools.cached_property):
            def __get__(self, instance, owner=None): return super().__get__(instance, owner)
        class Tree:
            @lazy
            def leaves(self):
                "The leaves."
                return [1]
        def f(i): return Tree().leaves, Tree.__dict__["leaves"].attrname, Tree.__dict__["leaves"].__doc__
    """,
    "`functools.lru_cache`, `functools.cache`: functools.lru_cache": """
        import functools
        @functools.lru_cache(maxsize=7, typed=True)
        def fib(n):
            "Doc."
            return n if n < 2 else fib(n - 1) + fib(n - 2)
        fib.unit = "taxa"
        def f(i): return fib(20 + i), fib.cache_info().hits > 0, fib.cache_parameters(), fib.__doc__, fib.__name__, fib.unit
    """,
    "`functools.lru_cache`, `functools.cache`: functools.cache mapped itself": """
        import functools
        @functools.cache
        def f(n): return 0 if n < 1 else 1 + f(n - 1)
    """,
    "`functools.lru_cache`, `functools.cache`: method under lru_cache": """
        import functools
        class Tree:
            @functools.lru_cache
            def depth(self, n): return n * 2
            @staticmethod
            @functools.cache
            def s(n): return n
            @classmethod
            @functools.cache
            def c(cls, n): return cls.__name__, n
        def f(i): return Tree().depth(i), Tree.s(i), Tree.c(i)
    """,
    "`functools.lru_cache`, `functools.cache`: lru_cache of a module's function": """
        import functools, posixpath
        join = functools.lru_cache(posixpath.join)
        def f(i): return join("a", str(i))
    """,
    "`functools.lru_cache`, `functools.cache`: local lru_cache": """
        import functools
        def outer():
            @functools.lru_cache
            def g(n): return n if n < 2 else g(n - 1) + g(n - 2)
            return g
        g = outer()
        def f(i): return g(10 + i)
    """,
    "decorators, `functools.wraps`: functools.wraps": """
        import functools
        def deco(g):
            @functools.wraps(g)
            def inner(*a):
                inner.calls += 1
                return g(*a) + inner.calls
            inner.calls = 0
            return inner
        @deco
        def g(i): return i
        def f(i): return g.__wrapped__(i), g.__name__
    """,
    "`functools.singledispatch`, `singledispatchmethod`: functools.singledispatch": """
        import functools
        @functools.singledispatch
        def g(x): return "object"
        @g.register
        def _(x: int): return "int"
        @g.register(list)
        def _(x): return "list"
        g(1)
        class Taxon: pass
        @g.register
        def _(x: Taxon): return "taxon"
        g(Taxon())
        def f(i): return g(i), g([]), g("s"), g(Taxon()), len(g.registry)
    """,
    "`functools.singledispatch`, `singledispatchmethod`: functools.singledispatch with an abstract base class": """
        import functools, collections.abc
        @functools.singledispatch
        def g(x): return "object"
        @g.register(collections.abc.Sequence)
        def _(x): return "sequence"
        g(()), g(1.0)
        def f(i): return g(i), g([]), g({})
    """,
    "`functools.singledispatch`, `singledispatchmethod`: functools.singledispatchmethod": """
        import functools
        class Tree:
            @functools.singledispatchmethod
            def add(self, x): return "object"
            @add.register
            def _(self, x: int): return "int"
        Tree().add(1)
        def f(i): return Tree().add(i), Tree().add("s")
    """,
    "`functools.partial`, `partialmethod`, `total_ordering`: functools.partialmethod": """
        import functools
        class Tree:
            def cut(self, a, b): return a, b
            half = functools.partialmethod(cut, 2)
        def f(i): return Tree().half(i)
    """,
    "`functools.partial`, `partialmethod`, `total_ordering`: functools.total_ordering": """
        import functools
        @functools.total_ordering
        class Rank:
            def __init__(self, n): self.n = n
            def __eq__(self, other): return self.n == other.n
            def __lt__(self, other): return self.n < other.n
            __hash__ = None
        def f(i): return Rank(i) >= Rank(1), Rank(i) > Rank(1)
    """,
    "`functools.partial`, `partialmethod`, `total_ordering`: functools.partial and a subclass of it": """
        import functools
        class Named(functools.partial): pass
        named = Named(pow, 2)
        named.label = "two to the"
        plain = functools.partial(pow, 3)
        def f(i): return named(i), named.label, type(named).__name__, plain(i)
    """,
    "classes, properties, descriptors: descriptor": """
        class Positive:
            def __set_name__(self, owner, name): self.name = name
            def __get__(self, instance, owner=None):
                return self if instance is None else instance.__dict__[self.name]
            def __set__(self, instance, value):
                if value < 0: raise ValueError(self.name)
                instance.__dict__[self.name] = value
        class Branch:
            length = Positive()
        def f(i):
            branch = Branch(); branch.length = i
            try: branch.length = -1
            except ValueError as error: return branch.length, str(error)
    """,
    "classes, properties, descriptors: property, classmethod, staticmethod": """
        class Tree:
            n = 3
            @property
            def p(self): "Doc."; return self.n
            @p.setter
            def p(self, value): self.n = value
            @classmethod
            def c(cls): return cls.n
            @staticmethod
            def s(): return 1
        make = Tree.c
        def f(i):
            tree = Tree(); tree.p = i
            return tree.p, Tree.c(), Tree.s(), make()
    """,
    "registries: with instances of their class as keys": """
        class Taxon:
            known = {}
            def __init__(self, name): self.name = name; Taxon.known[self] = len(Taxon.known)
            def __eq__(self, other): return self.name == other.name
            def __hash__(self): return hash(self.name)
            def index(self): return INDEX[self]
        homo, pan = Taxon("Homo"), Taxon("Pan")
        INDEX = {homo: 5, pan: 6}
        def f(i): return Taxon.known.get(pan), homo.index(), homo in INDEX
    """,
    "dataclasses, attrs classes: with instances as constants": """
        import dataclasses
        @dataclasses.dataclass(frozen=True)
        class Base:
            letter: str
        Base.VALID = {Base(c) for c in "ACGT"}
        Base.COMPLEMENT = {Base("A"): Base("T")}
        @dataclasses.dataclass(frozen=True, slots=True)
        class Point:
            x: float
        Point.ORIGIN = Point(0.0)
        class Node:
            def __init__(self): self.cache = {}
            def __getstate__(self): return {"name": "root"}
            def __setstate__(self, state): self.cache = {}
        Node.ROOT = Node()
        class Taxon:
            def __init__(self, name): self.name = name
            def __reduce__(self): return Taxon, (self.name,)
        Taxon.ROOT = Taxon("root")
        def f(i):
            known = Base("A") in Base.VALID, Base("X") in Base.VALID
            constants = Point.ORIGIN.x, Node.ROOT.cache, Taxon.ROOT.name
            return known, Base.COMPLEMENT[Base("A")].letter, constants
    """,
    "named tuples, typed dictionaries: with instances as constants": """
        from typing import NamedTuple
        class Site(NamedTuple):
            x: int
            def near(self): return NEAR[self]
        Site.ORIGIN = Site(0)
        NEAR = {Site(1): Site(2)}
        def f(i): return Site.ORIGIN, Site(1).near()
    """,
    "registries": """
        models = {}
        def model(g):
            models[g.__name__] = g
            return g
        @model
        def jc(x): return x
        @model
        def hky(x): return -x
        def f(i): return sorted(models), [models[name](i) for name in sorted(models)]
    """,
    "metaclasses, `__init_subclass__`: __init_subclass__ registry": """
        class Model:
            registry = {}
            def __init_subclass__(cls, *, tag, **more):
                super().__init_subclass__(**more)
                cls.tag = tag
                if tag in Model.registry: raise TypeError(f"{tag} again")
                Model.registry[tag] = cls
        class JC(Model, tag="jc"): rate = 1
        class HKY(Model, tag="hky"): rate = 2
        def f(i):
            return sorted((tag, cls.tag, cls.rate, cls is {"jc": JC, "hky": HKY}[tag]) for tag, cls in Model.registry.items())
        def g(i): return HKY()
        def check(ex):
            before = dict(Model.registry)
            (back, _) = ex.map(g, [1, 2])
            assert type(back) is HKY
            assert Model.registry == before
    """,
    "metaclasses, `__init_subclass__`: metaclass that registers and wants keywords": """
        class Meta(type):
            seen = []
            def __new__(meta, name, bases, namespace, *, rank):
                cls = super().__new__(meta, name, bases, namespace)
                cls.rank = rank
                return cls
            def __init__(cls, name, bases, namespace, *, rank):
                super().__init__(name, bases, namespace)
                Meta.seen.append(name)
            def __call__(cls, *a):
                it = super().__call__(*a); it.made = True
                return it
            def __len__(cls): return cls.rank
        class A(metaclass=Meta, rank=3): pass
        class B(A, rank=4): pass
        def f(i): return Meta.seen, len(A), len(B), A().made, type(A) is Meta
        def g(i): return B()
        def check(ex):
            list(ex.map(g, [1]))
            assert Meta.seen == ["A", "B"]
    """,
    "classes, properties, descriptors: a class that comes back is the one it was": """
        FACTOR = 1
        class Tree:
            made = []
            def get(self): return FACTOR
        def f(i): return Tree().get()
        def g(i):
            Tree.made.append(i)
            return Tree()
        def check(ex):
            global FACTOR
            get, made = Tree.get, Tree.made
            back = list(ex.map(g, [1, 2]))
            FACTOR = 2
            assert type(back[0]) is Tree
            assert Tree.get is get and Tree.made is made == []
            assert back[0].get() == 2
            assert list(ex.map(f, [1])) == [2]
    """,
    "classes, properties, descriptors: a class that changed before the next map": """
        class Tree:
            rate = 1
        def f(i): return Tree.rate
        def check(ex):
            Tree.rate = 5
            assert list(ex.map(f, [1, 2])) == [5, 5]
            del Tree.rate
            assert list(ex.map(lambda i: hasattr(Tree, "rate"), [1, 2])) == [False, False]
    """,
    "abstract base classes": """
        import abc
        class Shape(abc.ABC):
            @abc.abstractmethod
            def area(self): ...
        class Square(Shape):
            def area(self): return 4
        @Shape.register
        class Foreign: pass
        Shape.register(frozenset)
        def f(i):
            try: Shape()
            except TypeError: abstract = True
            return abstract, Square().area(), issubclass(Foreign, Shape), isinstance(frozenset(), Shape), isinstance(3, Shape)
    """,
    "enumerations and flags: enum.Enum": """
        import enum
        class Base(enum.Enum):
            A = "a"
            C = "c"
            ADENINE = "a"
            @classmethod
            def _missing_(cls, value): return cls[value.upper()] if value.upper() in cls._member_map_ else None
            def other(self): return type(self)(self.value)
        def f(i): return Base("c").name, Base("adenine").name, Base.ADENINE is Base.A, Base.A.other() is Base.A, list(Base.__members__), len(Base)
        def g(i): return Base.C, Base.ADENINE, {Base.A: i}
        def check(ex):
            (c, a, d), _ = ex.map(g, [1, 2])
            assert c is Base.C and a is Base.A and d == {Base.A: 1}
            assert list(ex.map(lambda b: b is Base.A, [Base.A, Base.C])) == [True, False]
            assert list(ex.map(lambda b: b, Base)) == list(Base)
    """,
    "enumerations and flags: enumeration whose members have fields": """
        import enum
        class Planet(enum.Enum):
            EARTH = (1, 2)
            MARS = (3, 4)
            def __init__(self, mass, radius):
                self.mass, self.radius = mass, radius
                self.friends = [mass]
            @property
            def ratio(self): return self.mass / self.radius
        Planet.EARTH.mate = Planet.MARS
        def f(i): return Planet.MARS.mass, Planet.EARTH.ratio, Planet((3, 4)).friends, Planet.EARTH.mate.name
        def g(i): return Planet.MARS
        def check(ex):
            assert list(ex.map(g, [1])) == [Planet.MARS]
            assert list(ex.map(lambda p: p.mass, Planet)) == [1, 3]
    """,
    "enumerations and flags: enumeration with its own __new__": """
        import enum
        class Coordinate(bytes, enum.Enum):
            def __new__(cls, value, label, unit):
                obj = bytes.__new__(cls, [value])
                obj._value_ = value
                obj.label, obj.unit = label, unit
                return obj
            PX = (0, "P.X", "km")
            PY = (1, "P.Y", "km")
        class Coded(enum.Enum):
            def __new__(cls, code, label):
                obj = object.__new__(cls)
                obj._value_, obj.label = code, label
                return obj
        class State(Coded):
            GAP = 0, "gap"
            A = 1, "adenine"
        def f(i): return Coordinate.PY == b"\\x01", Coordinate(0).label, Coordinate.PY.unit, State(1).label, State.GAP.label, [s.name for s in State]
        def g(i): return State.A, Coordinate.PX
        def check(ex):
            assert list(ex.map(g, [1])) == [(State.A, Coordinate.PX)]
    """,
    "enumerations and flags: enumeration whose base class has __init__": """
        import enum
        class Labelled(enum.Enum):
            def __init__(self, code, label): self.label = label
        class S(Labelled):
            A = 1, "a"
            B = 2, "b"
        def f(i): return S.A.label, S((2, "b")).name
        def check(ex): assert list(ex.map(lambda i: S.B, [1])) == [S.B]
    """,
    "enumerations and flags: enumeration with values compared by identity": """
        import enum
        class Sentinel(enum.Enum):
            MISSING = object()
            NONE = object()
        def f(i): return Sentinel.MISSING is Sentinel.MISSING, Sentinel.NONE.name
        def check(ex): assert list(ex.map(lambda i: Sentinel.NONE, [1])) == [Sentinel.NONE]
    """,
    "enumerations and flags: enum.IntEnum, auto": """
        import enum
        class Rank(enum.IntEnum):
            def _generate_next_value_(name, start, count, last_values): return 10 * (count + 1)
            SPECIES = enum.auto()
            GENUS = enum.auto()
        def f(i): return Rank.GENUS > Rank.SPECIES, Rank(10).name, Rank.GENUS + 1, f"{Rank.GENUS:d}"
        def check(ex): assert [r is Rank.GENUS for r in ex.map(lambda i: Rank.GENUS, [1])] == [True]
    """,
    "enumerations and flags: enum.Flag": """
        import enum
        class Perm(enum.Flag):
            R = enum.auto()
            W = enum.auto()
            X = enum.auto()
            RW = R | W
        both = Perm.R | Perm.X
        def f(i): return (Perm.R | Perm.W) is Perm.RW, both == Perm.R | Perm.X, Perm.X in both, (~Perm.R).value & 7, bool(both & Perm.W), Perm(3).name
        def g(i): return Perm.R | Perm.X, Perm.RW
        def check(ex):
            assert list(ex.map(g, [1])) == [(Perm.R | Perm.X, Perm.RW)]
            assert next(ex.map(g, [1]))[0] is both
    """,
    "enumerations and flags: enum.IntFlag": """
        import enum
        class Perm(enum.IntFlag):
            R = 4
            W = 2
        def f(i): return Perm.R | Perm.W == 6, (Perm.R | 1) == 5, Perm(6) & Perm.W
        def f(i): return int(Perm.R | Perm.W), int(Perm.R | 1), int(Perm(6) & Perm.W)
        def check(ex): assert list(ex.map(lambda i: Perm.R | Perm.W, [1])) == [Perm.R | Perm.W]
    """,
    "enumerations and flags: functional enumeration, str mixin": """
        import enum
        Colour = enum.Enum("Colour", "RED GREEN")
        class Name(str, enum.Enum):
            HOMO = "homo"
        def f(i): return Colour.RED.value, Name.HOMO == "homo", Name.HOMO.upper(), {Name.HOMO: 1}["homo"]
        def check(ex):
            assert list(ex.map(lambda i: (Colour.GREEN, Name.HOMO), [1])) == [(Colour.GREEN, Name.HOMO)]
    """,
    "generic classes, protocols, `TypeVar`, `NewType`": """
        import typing
        T = typing.TypeVar("T", bound=int)
        class Box(typing.Generic[T]):
            def __init__(self, x: T): self.x = x
        class IntBox(Box[int]): pass
        @typing.runtime_checkable
        class HasX(typing.Protocol):
            x: int
            def go(self) -> int: ...
        class Real:
            x = 1
            def go(self): return 1
        alias = Box[int]
        P = typing.ParamSpec("P")
        def deco(g: typing.Callable[P, T]) -> typing.Callable[P, T]: return g
        def f(i): return Box[int](i).x, IntBox(i).x, isinstance(Real(), HasX), isinstance(3, HasX), alias(i).x, T.__name__, deco(abs)(-i), T.__bound__ is int
        def g(i): return T, Box
        def check(ex): assert list(ex.map(g, [1])) == [(T, Box)]
    """,
    "named tuples, typed dictionaries": """
        import typing, collections
        class P(typing.NamedTuple):
            x: int
            y: int = 2
            def both(self): return self.x + self.y
        Q = collections.namedtuple("Q", "a b", defaults=[5])
        class D(typing.TypedDict, total=False):
            k: int
        class E(D):
            m: float
        F = typing.TypedDict("F", {"a b": int})
        N = typing.NewType("N", int)
        def f(i):
            made = P(i), P(i).both(), Q(i), D(k=i), E(m=0.5), F(**{"a b": i}), N(i)
            return made, N.__name__, P._fields, D.__total__, typing.get_type_hints(E), sorted(F.__required_keys__)
        def g(i): return P(i), Q(i)
        def check(ex):
            assert list(ex.map(g, [1])) == [(P(1), Q(1))]
            assert type(next(ex.map(g, [1]))[0]) is P
    """,
    "dataclasses, attrs classes": """
        import dataclasses
        from dataclasses import dataclass, field, KW_ONLY, MISSING
        @dataclass(frozen=True, order=True)
        class A:
            x: int
            y: list = field(default_factory=list, compare=False)
        @dataclass(slots=True)
        class B:
            x: int
            _: KW_ONLY
            y: int = 3
        @dataclass(frozen=True, slots=True)
        class C(A):
            z: int = 0
        def f(i):
            try: A(1).x = 2
            except dataclasses.FrozenInstanceError: frozen = True
            try: B(1).other = 2
            except AttributeError: slots = True
            else: slots = False
            return (frozen, slots, A(i) < A(i + 1), B(i).y, B.__match_args__, dataclasses.asdict(A(i)), dataclasses.replace(A(i), x=9).x,
                [g.name for g in dataclasses.fields(B)], dataclasses.fields(A)[0].default is MISSING, dataclasses.is_dataclass(C), repr(C(i)), hasattr(B(i), "__dict__"))
        def g(i): return A(i), B(i), C(i)
        def check(ex): assert list(ex.map(g, [1])) == [(A(1), B(1), C(1))]
    """,
    "`__slots__`": """
        class P:
            __slots__ = ("x", "y")
            def __init__(self, x): self.x = x
            def __eq__(self, other): return self.x == other.x
            __hash__ = None
        class Q(P):
            __slots__ = "z"
        class R(P): pass
        class W:
            __slots__ = ("__weakref__", "__private", "__dict__")
            def set(self): self.__private = 2; return self.__private
        def f(i):
            p, q = P(i), Q(i)
            q.z = 3
            try: p.other = 1
            except AttributeError: strict = True
            else: strict = False
            return strict, p.x, q.z, hasattr(p, "__dict__"), hasattr(q, "__dict__"), hasattr(R(i), "__dict__"), W().set()
        def g(i):
            q = Q(i); q.z = 8
            return P(i), q, R(i)
        def check(ex):
            p, q, r = next(ex.map(g, [1]))
            assert p == P(1) and q.z == 8 and r.x == 1
    """,
    "weak references, weak sets and dictionaries: weakref.WeakValueDictionary, WeakKeyDictionary, WeakSet": """
        import weakref
        class Node:
            def __init__(self, n): self.n = n
        keep = [Node(1), Node(2)]
        values = weakref.WeakValueDictionary((node.n, node) for node in keep)
        keys = weakref.WeakKeyDictionary((node, node.n) for node in keep)
        nodes = weakref.WeakSet(keep)
        def f(i):
            late = Node(7)
            values[7] = late
            seen = 7 in values
            del late
            return seen, 7 in values, sorted(values), sorted(keys.values()), sorted(n.n for n in nodes), type(values).__name__
    """,
    "weak references, weak sets and dictionaries: class that counts its instances in a WeakSet": """
        import weakref
        class Node:
            alive = weakref.WeakSet()
            def __init__(self): Node.alive.add(self)
        def f(i):
            node = Node()
            return len(Node.alive)
    """,
    "weak references, weak sets and dictionaries: weakref.ref": """
        import weakref
        class Node:
            def __init__(self, n): self.n = n; self.parent = None
            def go(self): return self.n
        root = Node(1)
        root.child = Node(2)
        root.child.parent = weakref.ref(root)
        ref = weakref.ref(root)
        method = weakref.WeakMethod(root.go)
        gone = weakref.ref(Node(3))
        def f(i): return ref().n, root.child.parent() is root, gone() is None, isinstance(ref, weakref.ref), method()()
        def check(ex):
            back = next(ex.map(lambda node: node, [root.child]))
            assert back.parent().n == 1 and back.parent().child is back
    """,
    "weak references, weak sets and dictionaries: a subclass of weakref.ref": """
        import weakref
        class Tree: pass
        class Named(weakref.ref):
            def __init__(self, target, name):
                super().__init__(target)
                self.name = name
            def __new__(cls, target, name): return super().__new__(cls, target)
        tree = Tree()
        link = Named(tree, "root")
        def f(i): return link() is tree, type(link) is Named, link.name
        def check(executor):
            (back,) = executor.map(lambda i: link, [1])
            assert type(back) is Named and type(back()) is Tree and back.name == "root"
    """,
    "weak references, weak sets and dictionaries: a finalizer that has run": """
        import weakref
        class Tree: pass
        tree = Tree()
        gone = weakref.finalize(tree, int)
        gone()
        def f(i): return gone.alive
    """,
    "weak references, weak sets and dictionaries: a temporary directory": """
        import os, tempfile
        with tempfile.TemporaryDirectory() as name: pass
        place = tempfile.TemporaryDirectory()
        def f(i): return place.name
        def look(i):
            global place
            found = os.path.isdir(place.name)
            place = None
            return found
        def check(executor):
            assert list(executor.map(look, [1])) == [True]
            assert os.path.isdir(place.name)
            place.cleanup()
            assert not os.path.isdir(place.name)
    """,
    "weak references, weak sets and dictionaries: weakref.proxy": """
        import weakref
        class Node:
            def __init__(self, n): self.n = n
        root = Node(1)
        root.child = Node(2)
        root.child.parent = weakref.proxy(root)
        proxy = weakref.proxy(root)
        def f(i):
            root.n = i
            return proxy.n, root.child.parent.n, proxy.child is root.child
    """,
    "`threading.local`": """
        import threading
        local = threading.local()
        local.n = 3
        def f(i):
            local.m = i
            return local.n, local.m, type(local).__name__
    """,
    "`contextvars.ContextVar`": """
        import contextvars
        var = contextvars.ContextVar("var", default=3)
        bare = contextvars.ContextVar("bare")
        def f(i):
            token = var.set(i)
            got = var.get()
            var.reset(token)
            return got, var.get(), var.name, bare.get("none")
    """,
    "loggers": """
        import logging
        log = logging.getLogger("main.kinds")
        adapter = logging.LoggerAdapter(log, {"a": 1})
        def f(i):
            log.debug("no")
            return log is logging.getLogger("main.kinds"), adapter.extra
    """,
    "values and containers of the standard library: compiled regular expression": """
        import re
        pattern = re.compile(r"(?P<name>[A-Z])\\d", re.I)
        def f(i): return pattern.findall("a1 b2"), pattern.flags
    """,
    "modules": """
        import os.path, xml.etree.ElementTree, collections.abc as c
        import concurrent.futures
        def f(i): return os.path.join("a", "b"), xml.etree.ElementTree.fromstring("<a/>").tag, c.Sized.__name__, concurrent.futures.ALL_COMPLETED
    """,
    "lazy modules, facades, proxies: importlib.util.LazyLoader": """
        import importlib.util, sys
        def lazy(name):
            spec = importlib.util.find_spec(name)
            spec.loader = importlib.util.LazyLoader(spec.loader)
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
            return module
        sys.modules.pop("colorsys", None)
        colorsys = lazy("colorsys")
        def f(i): return colorsys.rgb_to_hsv(0, 0, i)
        def check(ex): pass
    """,
    "lazy modules, facades, proxies: lazy proxy that is a module": """
        import types, importlib
        class Lazy(types.ModuleType):
            def __getattr__(self, name):
                module = importlib.import_module(self.__name__)
                self.__dict__.update(module.__dict__)
                return getattr(module, name)
        statistics = Lazy("statistics")
        never = Lazy("a_module_that_is_not_installed")
        def f(i):
            try: never.x
            except ModuleNotFoundError: missing = True
            return statistics.mean([1, i]), missing
    """,
    "lazy modules, facades, proxies: lazy proxy that only looks like a module": """
        import importlib
        class Demand:
            def __init__(self, name): self._name = name
            def __getattr__(self, attr): return getattr(importlib.import_module(self._name), attr)
        statistics = Demand("statistics")
        def f(i): return statistics.mean([1, i])
    """,
    "lazy modules, facades, proxies: demandimport-like proxy with slots": """
        import importlib
        class Demand(object):
            __slots__ = ("_name", "_module")
            def __init__(self, name):
                object.__setattr__(self, "_name", name)
                object.__setattr__(self, "_module", None)
            def __getattribute__(self, attr):
                if attr in ("_name", "_module", "_load"): return object.__getattribute__(self, attr)
                return getattr(self._load(), attr)
            def _load(self):
                if not self._module: object.__setattr__(self, "_module", importlib.import_module(self._name))
                return self._module
            def __setattr__(self, attr, value): setattr(self._load(), attr, value)
        statistics = Demand("statistics")
        def f(i): return statistics.mean([1, i])
    """,
    "lazy modules, facades, proxies: deprecation facade": """
        import warnings, math
        class Deprecated:
            def __init__(self, module): self.__dict__["_module"] = module
            def __getattr__(self, name):
                warnings.warn(f"{name} is deprecated", DeprecationWarning, stacklevel=2)
                return getattr(self._module, name)
        old = Deprecated(math)
        def f(i):
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                got = old.sqrt(4)
            return got, len(seen)
    """,
    "lazy modules, facades, proxies: object in place of a module in sys.modules": """
        import email.charset, sys, types
        import json.tool
        class Facade(types.ModuleType):
            def __getattr__(self, name): return getattr(self.real, name)
        import fractions
        facade = Facade("fractions"); facade.real = fractions
        sys.modules["fractions"] = facade
        def f(i): return facade.Fraction(1, i) == __import__("fractions").Fraction(1, i)
        def check(ex): sys.modules["fractions"] = fractions
    """,
    "lazy modules, facades, proxies: no module in a module's place": """
        import sys, statistics
        class Facade:
            __module__ = "statistics"
            def __getattr__(self, name): return getattr(statistics, name)
        old = Facade()
        sys.modules["statistics"] = old
        def f(i): return old.mean([1, i])
        def g(i): return old is sys.modules["statistics"]
        def check(ex):
            assert list(ex.map(g, [1])) == [True]
            sys.modules["statistics"] = statistics
    """,
    "decorators, `functools.wraps`: deprecated-style wrapper": """
        import functools, warnings
        def deprecated(reason):
            def deco(g):
                @functools.wraps(g)
                def inner(*a, **k):
                    warnings.warn(reason, DeprecationWarning, stacklevel=2)
                    return g(*a, **k)
                return inner
            return deco
        @deprecated("old")
        def g(i): return i
        def f(i):
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                return g(i), len(seen)
    """,
    "`memoryview`, `types.MappingProxyType`, `types.SimpleNamespace`: types.MappingProxyType": """
        import types
        table = types.MappingProxyType({"a": 1})
        def f(i):
            try: table["b"] = 1
            except TypeError: return dict(table), type(table).__name__
    """,
    "`memoryview`, `types.MappingProxyType`, `types.SimpleNamespace`: types.SimpleNamespace": """
        import types
        settings = types.SimpleNamespace(rate=1, more=types.SimpleNamespace(x=2))
        def f(i): return settings.rate, settings.more.x
    """,
    "iterators: enumerate, zip, map": """
        rows = [enumerate("ab"), zip("ab", "cd"), map(str, [1]), iter([1, 2]), iter({1: 2}), reversed("ab")]
        next(rows[0])
        def f(i): return [list(row) for row in __import__("copy").deepcopy(rows)]
    """,
    "iterators: of itertools": """
        import itertools
        count = itertools.count(5)
        def f(i): return next(itertools.islice(count, 1)) >= 5
    """,
    "`memoryview`, `types.MappingProxyType`, `types.SimpleNamespace`: memoryview": """
        view = memoryview(bytearray(b"abc"))
        cast = memoryview(b"\\0\\0\\0\\1").cast("I")
        def f(i): return bytes(view), view[1], view.readonly, type(view).__name__, cast.format, len(cast)
    """,
    "`memoryview`, `types.MappingProxyType`, `types.SimpleNamespace`: views of any form": """
        import array
        whole = memoryview(array.array("d", range(6)))
        table = whole.cast("B").cast("d", (2, 3))
        views = [memoryview(b"abcdef")[::2], whole[::-2], whole[3:3], memoryview(b""), table]
        def f(i): return [(it.tolist(), it.format, it.shape, it.readonly) for it in views]
    """,
    "`memoryview`, `types.MappingProxyType`, `types.SimpleNamespace`: views of columns": """
        import numpy
        table = numpy.arange(6.0).reshape(2, 3)
        views = [memoryview(numpy.asfortranarray(table)), memoryview(table[:, ::2]), memoryview(table.T)]
        def f(i): return [(it.tolist(), it.format, it.shape) for it in views]
    """,
    "types and arrays of `ctypes`": """
        import ctypes
        values = (ctypes.c_int * 3)(1, 2, 3)
        text = ctypes.create_string_buffer(b"tree")
        Call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
        Link = ctypes.POINTER(ctypes.c_double)
        def f(i): return list(values), text.value, Call(lambda n: n + 1)(i), Link(ctypes.c_double(i)).contents.value
    """,
    "NumPy's arrays, dtypes and ufuncs": """
        import numpy as np
        dtype = np.dtype([("a", "i4"), ("b", "f8")])
        table = np.zeros(3, dtype)
        table["a"] = [1, 2, 3]
        add = np.add
        vector = np.vectorize(lambda x: x + 1)
        floats = np.vectorize(lambda x: x + 1, otypes=[float])
        floats([1, 2])
        poly = np.poly1d([1, 2])
        rng = np.random.default_rng(1)
        class Sub(np.ndarray): pass
        sub = np.arange(3).view(Sub)
        record = np.rec.array([(1, 2.0)], dtype=dtype)
        def f(i): return add(i, 1), table["a"].sum(), dtype.names, int(vector(i)), float(floats(i)), poly(i), type(sub).__name__, record.a[0]
    """,
    "sentinels, singletons: sentinel compared by is": """
        MISSING = object()
        class Table:
            def get(self, x=MISSING): return x is MISSING
        def g(x=MISSING): return x is MISSING
        def f(i): return g(), g(MISSING), g(i), Table().get()
    """,
    "sentinels, singletons: singleton made by __new__": """
        class Unknown:
            _only = None
            def __new__(cls):
                if cls._only is None: cls._only = super().__new__(cls)
                return cls._only
            def __repr__(self): return "UNKNOWN"
        UNKNOWN = Unknown()
        def f(i): return Unknown() is UNKNOWN, Unknown() is Unknown()
        def g(i): return UNKNOWN
        def check(ex):
            assert next(ex.map(g, [1])) is UNKNOWN
            assert next(ex.map(lambda u: u is UNKNOWN, [UNKNOWN]))
    """,
    "sentinels, singletons: singleton made by its metaclass": """
        class Single(type):
            made = {}
            def __call__(cls, *a):
                if cls not in Single.made: Single.made[cls] = super().__call__(*a)
                return Single.made[cls]
        class Config(metaclass=Single):
            def __init__(self): self.n = 1
        config = Config()
        config.n = 5
        def f(i): return Config() is config, Config().n
    """,
    "enumerations and flags: its own metaclass": """
        import enum
        class Meta(enum.EnumMeta):
            made = []
            def __new__(meta, name, bases, namespace):
                Meta.made.append(name)
                return super().__new__(meta, name, bases, namespace)
            def __getitem__(cls, name): return super().__getitem__(name.upper())
        class Base(enum.Enum, metaclass=Meta):
            @property
            def low(self): return self.name.lower()
        class Colour(Base):
            RED = [1]
            BLUE = {"a": 1}
        def f(i): return Colour["red"].value, Colour.BLUE.low, type(Colour) is Meta, Meta.made, Colour([1]).name
        def check(ex):
            assert list(ex.map(lambda i: Colour.RED, [1])) == [Colour.RED]
            assert Meta.made == ["Base", "Colour"]
    """,
    "enumerations and flags: newer ones": """
        import enum, sys
        class Op(enum.Enum):
            ADD = [lambda a, b: a + b]
            def __call__(self, *a): return self.value[0](*a)
        class Kind(str, enum.Enum):
            _ignore_ = ["k"]
            for k in "ab": vars()[k.upper()] = k
            def __str__(self): return self.value
        class Nested:
            class Inner(enum.IntEnum): ONE = 1
        if sys.version_info >= (3, 11):
            class Name(enum.StrEnum):
                HOMO = enum.auto()
                @enum.nonmember
                class Other: x = 3
            @enum.verify(enum.UNIQUE)
            class Perm(enum.Flag, boundary=enum.KEEP):
                R = 1
                W = 2
                @enum.property
                def low(self): return self.name.lower()
            more = lambda: (Name.HOMO == "homo", Name.Other.x, Perm(8 | 1) & Perm.R, Perm.R.low, len(Perm), list(Perm.R | Perm.W), Perm._boundary_.name)
        else: more = int
        def f(i): return Op.ADD(1, i), str(Kind.A), [k.name for k in Kind], Nested.Inner(1).name, repr(Nested.Inner.ONE), repr(more())
        def check(ex): assert list(ex.map(lambda i: (Kind.A, Nested.Inner.ONE, Op.ADD), [1])) == [(Kind.A, Nested.Inner.ONE, Op.ADD)]
    """,
    "classes, properties, descriptors: subclasses of property and classmethod": """
        class classproperty(property):
            def __get__(self, instance, owner=None): return self.fget(owner)
        class noted(property):
            def __init__(self, fget, unit="none"):
                super().__init__(fget); self.unit = unit
        class loud(classmethod):
            def __get__(self, instance, owner=None): return lambda *a: ("loud", super(loud, self).__get__(instance, owner)(*a))
        class still(staticmethod): pass
        class Tree:
            @classproperty
            def label(cls): return cls.__name__
            @noted
            def n(self): "Doc."; return 4
            @loud
            def c(cls, i): return cls.__name__, i
            @still
            def s(i): return i
        def f(i): return Tree.label, Tree().n, vars(Tree)["n"].unit, Tree.n.__doc__, Tree.c(i), Tree.s(i), type(vars(Tree)["s"]).__name__
    """,
    "modules: what cannot travel and is a module's": """
        import logging
        from logging import _lock, lastResort
        def f(i):
            with _lock: return _lock is logging._lock, lastResort is logging.lastResort
    """,
    "modules: made by hand": """
        import types
        config = types.ModuleType("config")
        config.rate = 3
        class Settings(types.ModuleType):
            def twice(self): return 2 * self.rate
        settings = Settings("settings", "doc")
        settings.rate = 4
        def f(i): return config.rate, settings.rate, settings.twice(), settings.__doc__, settings.__name__
    """,
    "sentinels, singletons: a singleton that answers to every name": """
        class Only:
            made = None
            def __new__(cls):
                if cls.made is None: cls.made = object.__new__(cls)
                return cls.made
            def __getattr__(self, name): return name
        only = Only()
        only.n = 3
        def f(i): return only.x, only.n, Only() is only
        def check(ex):
            assert next(ex.map(lambda i: only, [1])) is only
            assert next(ex.map(lambda o: o is only, [only]))
    """,
    "metaclasses, `__init_subclass__`: of a generic class": """
        import typing, abc
        T = typing.TypeVar("T")
        class Model(typing.Generic[T], abc.ABC):
            def __init_subclass__(cls, tag, **more):
                super().__init_subclass__(**more)
                cls.tag = tag
        class JC(Model[int], tag="jc"): pass
        def f(i): return JC.tag, JC.__orig_bases__[0].__args__, issubclass(JC, Model), Model[int]().__class__ is Model
    """,
    "dataclasses, attrs classes: attrs": """
        import attrs, attr
        @attrs.define
        class A:
            x: int = attrs.field()
            y: list = attrs.field(factory=list, eq=False)
            @x.validator
            def check(self, attribute, value):
                if value > 5: raise ValueError("large")
        @attrs.frozen
        class B(A):
            z: int = 2
        @attr.s
        class Old: x = attr.ib(default=attr.NOTHING, converter=int)
        def f(i):
            try: A(9)
            except ValueError as error: large = str(error)
            try: B(1).z = 3
            except attrs.exceptions.FrozenInstanceError: frozen = True
            return large, frozen, A(i), B(i), attrs.asdict(B(i)), Old("3").x, hasattr(A(1), "__dict__"), attrs.fields(A).x.default is attrs.NOTHING
        def f(i, f=f): return [repr(part) for part in f(i)]
        def g(i): return A(i), B(i)
        def check(ex): assert list(ex.map(g, [1])) == [(A(1), B(1))]
    """,
    "lazy modules, facades, proxies: lazy_loader": """
        import lazy_loader
        colorsys = lazy_loader.load("colorsys")
        missing = lazy_loader.load("a_module_that_is_not_installed")
        def f(i):
            try: missing.x
            except ModuleNotFoundError: gone = True
            return colorsys.rgb_to_hsv(0, 0, i), gone
    """,
    "lazy modules, facades, proxies: six.moves": """
        import six, six.moves
        from six.moves import urllib
        def f(i): return six.moves.range(i), urllib.parse.quote(" "), six.moves.urllib.parse.quote(" ")
    """,
    "modules: submodule under another name": """
        import numpy.linalg as la, numpy as np
        from xml.etree import ElementTree as ET
        def f(i): return float(la.norm([3, 4])), ET.fromstring("<a/>").tag, float(np.linalg.det([[2.0]]))
    """,
    "sentinels, singletons: of a module": """
        import dataclasses, inspect, enum
        from dataclasses import MISSING, KW_ONLY
        from functools import _initial_missing as nothing
        def f(i, default=MISSING): return default is dataclasses.MISSING, MISSING is dataclasses.MISSING, KW_ONLY is dataclasses.KW_ONLY, nothing is __import__("functools")._initial_missing
        def check(ex):
            assert next(ex.map(lambda i: i is MISSING, [MISSING]))
    """,
    "sentinels, singletons: very many": """
        things = [object() for _ in range(20_000)]
        def f(i): return len(things), len(set(things)), things[0] is things[-1]
    """,
    "sentinels, singletons: among items and results": """
        MISSING = object()
        def f(i): return MISSING is None
        def check(ex):
            assert list(ex.map(lambda i: i is MISSING, [MISSING, 1])) == [True, False]
            assert list(ex.map(lambda i: MISSING, [1, 2])) == [MISSING, MISSING]
    """,
    "classes, properties, descriptors: copied and reduced": """
        import copy
        class Tree:
            def __init__(self, n): self.n = n
            def __eq__(self, other): return type(other) is Tree and self.n == other.n
            __hash__ = None
            def __copy__(self): return Tree(self.n)
            def __len__(self): return self.n
            def __bool__(self): raise ValueError("ambiguous")
            def __class_getitem__(cls, item): return item
        def f(i): return copy.copy(Tree(i)).n, len(Tree(i)), Tree[i], (Tree(i) == Tree(i))
        def check(ex): assert list(ex.map(lambda t: t, [Tree(1)])) == [Tree(1)]
    """,
    "classes, properties, descriptors: answers to every name": """
        class Bag:
            def __init__(self): self.data = {}
            def __getattr__(self, name): return self.data.get(name, "none")
        class Attributes(dict):
            __getattr__ = dict.__getitem__
            __setattr__ = dict.__setitem__
        bag = Bag()
        bag.data["x"] = 1
        at = Attributes(x=2)
        def f(i): return bag.x, bag.y, at.x
        def check(ex): assert next(ex.map(lambda b: b.x, [bag])) == 1
    """,
    "coroutine and generator functions": """
        import asyncio
        async def g(i): return i
        async def h(i):
            for k in range(i): yield k
        def gen(i): yield from range(i)
        async def main(i): return await g(i), [k async for k in h(i)]
        def f(i): return asyncio.run(main(i)), list(gen(i))
    """,
    "functions, lambdas, closures: closures and nonlocal": """
        def counter():
            n = 0
            def step():
                nonlocal n
                n += 1
                return n
            def look(): return n
            return step, look
        step, look = counter()
        def f(i):
            before = look()
            step()
            return look() - before
    """,
    "functions, lambdas, closures: recursive functions and classes": """
        def even(n): return n == 0 or odd(n - 1)
        def odd(n): return n != 0 and even(n - 1)
        class Node:
            def child(self): return Node()
            def sup(self): return super().__repr__()[:2], __class__ is Node
        def f(i): return even(i), type(Node().child()) is Node, Node().sup()
    """,
    "classes, properties, descriptors: class in a class, mutual references": """
        class Outer:
            class Inner:
                def up(self): return Outer
            default = None
        Outer.default = Outer.Inner()
        def f(i): return Outer.default.up() is Outer, type(Outer.default) is Outer.Inner, Outer.Inner.__qualname__
    """,
    "exception classes": """
        class Wrong(ValueError):
            def __init__(self, site): super().__init__(site); self.site = site
        def f(i):
            try: raise Wrong(i)
            except ValueError as error: return error.site
        def g(i): raise Wrong(i)
        def check(ex):
            try: list(ex.map(g, [3]))
            except Wrong as error: assert error.site == 3
            else: assert 0
    """,
    "classes, properties, descriptors: objects with __call__, __reduce__, __getstate__": """
        import threading
        class Cache:
            def __init__(self): self.lock = threading.Lock(); self.n = 4
            def __getstate__(self): return {"n": self.n}
            def __setstate__(self, state): self.__init__(); self.n = state["n"]
            def __call__(self, i): return self.n + i
        cache = Cache()
        def f(i):
            with cache.lock: return cache(i)
    """,
    "values and containers of the standard library: collections": """
        import collections
        groups = collections.defaultdict(list, a=[1])
        ordered = collections.OrderedDict(b=1, a=2)
        chain = collections.ChainMap({"x": 1}, {"y": 2})
        class Bag(collections.UserDict): pass
        class Deep(dict):
            def __missing__(self, key): return key
        bag = Bag(z=1)
        counter = collections.Counter("abca")
        queue = collections.deque([1, 2], maxlen=2)
        keys = {"a": 1}.keys()
        def f(i): return groups["b"], list(ordered), chain["y"], bag["z"], Deep()["q"], counter["a"], queue.maxlen, list(keys)
    """,
    "values and containers of the standard library: slices, ranges, Ellipsis, NotImplemented, types": """
        cut = slice(1, 3); span = range(0, 9, 2); dots = ...; no = NotImplemented
        import types
        nonetype = type(None); func = types.FunctionType; union = int | None; alias = list[int]
        def f(i): return [1, 2, 3, 4][cut], list(span), dots is ..., no is NotImplemented, nonetype is type(None), isinstance(f, func), str(union), str(alias)
    """,
    "values and containers of the standard library: datetime, decimal, fractions, uuid, pathlib": """
        import datetime, decimal, fractions, uuid, pathlib, zoneinfo
        day = datetime.date(2024, 1, 1); d = decimal.Decimal("1.1"); q = fractions.Fraction(1, 3)
        u = uuid.UUID(int=3); p = pathlib.PurePosixPath("/a/b")
        def f(i): return day.year, d + 1, q * 3, u.int, p.name
    """,
    "values and containers of the standard library: random.Random, struct.Struct, operator getters": """
        import random, struct, operator
        rng = random.Random(3); packer = struct.Struct("<I"); get = operator.itemgetter(1); attr = operator.attrgetter("real")
        def f(i): return packer.pack(i), get([1, 2]), attr(i), random.Random(3).random()
    """,
    "functions, lambdas, closures: bound methods and built-ins": """
        seen = [1, 2]
        add = seen.append; up = "abc".upper; low = str.lower
        def f(i): add(3); return up(), low("X"), seen[:2]
    """,
    "named tuples, typed dictionaries: a subclass": """
        import collections
        class P(collections.namedtuple("P", "x")):
            __slots__ = ()
            @property
            def double(self): return self.x * 2
        p = P(3)
        def f(i): return p.double, hasattr(p, "__dict__")
        def check(ex): assert next(ex.map(lambda i: p, [1])) == p
    """,
    "generic classes, protocols, `TypeVar`, `NewType`: new syntax": """
        import sys
        Pair = Many = Box = None
        if sys.version_info >= (3, 12):
            exec("class Box[T]:\\n def __init__(self, x: T): self.x = x", globals())
            exec("def first[T](x: list[T]) -> T: return x[0]", globals())
            exec("type Pair = tuple[int, int]", globals())
            exec("type Many[T] = list[T]", globals())
        def f(i): return Box and (Box(i).x, first([i]), Pair.__name__, str(Many[int]), Pair.__value__)
    """,
    "annotations": """
        from __future__ import annotations
        import typing
        class Tree:
            left: Tree
            n: int = 0
        def g(x: Tree) -> "list[Tree]": return x
        def f(i): return Tree.__annotations__, g.__annotations__["return"]
    """,
    "values and containers of the standard library: queue.SimpleQueue free items and io objects": """
        import io
        text = io.StringIO("a b"); raw = io.BytesIO(b"abc")
        def f(i): return text.getvalue(), raw.getvalue()
    """,
    "text files open for reading": """
        import os, tempfile
        handle = tempfile.NamedTemporaryFile("w+", delete=False)
        handle.write("one\\ntwo\\nthree\\n")
        handle.close()
        text = open(handle.name)
        text.readline()
        def f(i): return text.name, text.read() or "at the end"
        def f(i): return (text.seek(4), text.read())
        def g(i): return text.readline()
        def check(ex):
            text.seek(4)
            assert list(ex.map(g, [1])) == ["two\\n"]
            text.close()
            os.unlink(handle.name)
    """,
    "`sys.stdout`, `sys.stderr`": """
        import sys
        out, err = sys.stdout, sys.stderr
        def f(i): return out is not None, err is not None
    """,
    "values and containers of the standard library: keys of order, the system's random numbers": """
        import functools, random
        key = functools.cmp_to_key(lambda a, b: b - a)
        rng = random.SystemRandom()
        def f(i): return sorted([1, i, 3], key=key), 0 <= rng.random() < 1
    """,
    "decorators, `functools.wraps`: contextlib helpers": """
        import contextlib
        @contextlib.contextmanager
        def managed(i): yield i + 1
        class Quiet(contextlib.ContextDecorator):
            def __enter__(self): return self
            def __exit__(self, *a): return True
        @Quiet()
        def g(i): return i
        def f(i):
            with managed(i) as n: return n, g(i)
    """,
    "decorators, `functools.wraps`: what contextlib.contextmanager makes": """
        import contextlib
        @contextlib.contextmanager
        def told(word, *, end): yield word + end
        ready = told("tree", end=".")
        @told("leaf", end="!")
        def g(i): return i
        def f(i): return g(i), type(ready).__name__
        def check(executor):
            def enter(i):
                with ready as text: return text
            assert list(executor.map(enter, [1])) == ["tree."]
    """,
    "values and containers of the standard library: re.Scanner": """
        import re
        scanner = re.Scanner([("[a-z]+", lambda _, text: ("name", text)), (" ", None)], re.IGNORECASE)
        scanner.label = "newick"
        def f(i): return scanner.scan("Pan troglodytes"), scanner.label
    """,
    "functions, lambdas, closures: code, cells, getset descriptors": """
        def g(): return 4
        code = g.__code__
        descriptor = int.real
        member = (lambda: 0).__class__.__dict__["__code__"]
        def f(i): return eval(code), descriptor.__name__, descriptor.__get__(i)
    """,
}
"""The row of the table in the documentation, what is special in it, and a program with it."""

LOCK, INSIDE, HALF = "a lock works within one process", "inside the function", "goes on in one"

REFUSED = {
    "locks, conditions, semaphores, events": """
        import threading
        cache_lock = threading.Lock()
        def f(i):
            with cache_lock: return i
    """,
    "locks, conditions, semaphores, events: in an object": """
        import threading
        class Cache:
            def __init__(self): self.guard = threading.Condition()
        cache = Cache()
        def helper(i): return cache
        def f(i): return helper(i)
    """,
    "locks, conditions, semaphores, events: a semaphore": """
        import threading
        class Tree:
            gate = threading.Semaphore(2)
            def go(self, i): return self.gate
        f = Tree().go
    """,
    "locks, conditions, semaphores, events: in a closure": """
        import threading
        def outer():
            event = threading.Event()
            def inner(i): return event
            return inner
        f = outer()
    """,
    "queues, threads, processes, pools, futures": """
        import queue
        waiting = queue.Queue()
        def f(i): return waiting.get()
    """,
    "queues, threads, processes, pools, futures: a pool": """
        import concurrent.futures
        pool = concurrent.futures.ThreadPoolExecutor(1)
        def f(i): return pool
    """,
    "open files, sockets, connections: a library": """
        import ctypes
        library = ctypes.CDLL(None)
        def f(i): return library.abs(i)
    """,
    "finalizers": """
        import weakref
        class Tree: pass
        tree = Tree()
        last = weakref.finalize(tree, int)
        def f(i): return last.alive
    """,
    "finalizers: in an object": """
        import weakref
        class Tree:
            def __init__(self): self.last = weakref.finalize(self, int)
        tree = Tree()
        def f(i): return tree
    """,
    "queues, threads, processes, pools, futures: between processes": """
        import multiprocessing
        here, there = multiprocessing.Pipe()
        def f(i): there.send(i)
        close = here.close
    """,
    "queues, threads, processes, pools, futures: shared values": """
        import multiprocessing
        count = multiprocessing.Value("i", 0)
        def f(i): count.value += 1
    """,
    "queues, threads, processes, pools, futures: an event of processes": """
        import multiprocessing
        ready = multiprocessing.Event()
        def f(i): return ready.is_set()
    """,
    "open files, sockets, connections: what waits for them": """
        import selectors
        waiting = selectors.DefaultSelector()
        def f(i): return waiting.select(0)
        close = waiting.close
    """,
    "open files, sockets, connections: a shelf": """
        import shelve
        trees = shelve.Shelf({})
        def f(i): return trees["a"]
        close = trees.close
    """,
    "open files, sockets, connections: a file to read and write": """
        import tempfile
        notes = tempfile.TemporaryFile("w+")
        def f(i): notes.write("a")
        close = notes.close
    """,
    "the module `__main__` itself": """
        import __main__
        rate = 2
        def f(i): return __main__.rate
    """,
    "generators, running coroutines": """
        trees = (i for i in range(9))
        def f(i): return next(trees)
    """,
    "open files, sockets, connections": """
        import sqlite3
        db = sqlite3.connect(":memory:")
        def f(i): return db.execute("select 1")
        close = db.close
    """,
    "open files, sockets, connections: a file to write": """
        import os
        log = open(os.devnull, "w")
        def f(i): log.write(i)
        close = log.close
    """,
    "open files, sockets, connections: a binary file": """
        import os
        data = open(os.devnull, "rb")
        def f(i): data.read(i)
        close = data.close
    """,
    "open files, sockets, connections: a socket": """
        import socket
        line = socket.socket()
        def f(i): return line
        close = line.close
    """,
    "handlers, contexts, tokens": """
        import logging
        handler = logging.StreamHandler()
        def f(i): return handler
    """,
    "handlers, contexts, tokens: a context": """
        import contextvars
        context = contextvars.copy_context()
        def f(i): return context
    """,
    "structs of msgspec": """
        import msgspec
        class Taxon(msgspec.Struct):
            name: str
        def f(i): return Taxon(str(i)).name
    """,
    "`numpy.frompyfunc`": """
        import numpy
        double = numpy.frompyfunc(lambda x: 2 * x, 1, 1)
        def f(i): return double(i)
    """,
}
"""The same of what is refused."""

TOLD = {
    "locks, conditions, semaphores, events": ("global `cache_lock` of function `f`", LOCK),
    "locks, conditions, semaphores, events: in an object": (
        "attribute `guard` of a `Cache`, in global `cache` of function `helper`, in global"
        " `helper` of function `f`, of type `threading.Condition`",
        LOCK,
    ),
    "locks, conditions, semaphores, events: a semaphore": (
        "attribute `gate` of class `Tree`",
        LOCK,
    ),
    "locks, conditions, semaphores, events: in a closure": (
        "variable `event` of function `outer.<locals>.inner`",
        "return results",
    ),
    "queues, threads, processes, pools, futures": ("global `waiting` of", "return results"),
    "queues, threads, processes, pools, futures: a pool": ("global `pool` of", INSIDE),
    "open files, sockets, connections: a library": ("global `library` of", INSIDE),
    "finalizers": ("global `last` of", "`__getstate__`"),
    "finalizers: in an object": (
        "attribute `last` of a `Tree`, in global `tree` of",
        "`__getstate__`",
    ),
    "queues, threads, processes, pools, futures: between processes": (
        "global `there` of",
        "return results",
    ),
    "queues, threads, processes, pools, futures: shared values": (
        "global `count` of",
        "return results",
    ),
    "queues, threads, processes, pools, futures: an event of processes": (
        "global `ready` of",
        "return results",
    ),
    "open files, sockets, connections: what waits for them": ("global `waiting` of", INSIDE),
    "open files, sockets, connections: a shelf": ("global `trees` of", INSIDE),
    "open files, sockets, connections: a file to read and write": ("global `notes` of", INSIDE),
    "the module `__main__` itself": ("global `__main__` of", "use the name in it directly"),
    "generators, running coroutines": ("global `trees` of", HALF),
    "open files, sockets, connections": ("global `db` of", INSIDE),
    "open files, sockets, connections: a file to write": ("global `log` of", INSIDE),
    "open files, sockets, connections: a binary file": ("global `data` of", INSIDE),
    "open files, sockets, connections: a socket": ("global `line` of", INSIDE),
    "handlers, contexts, tokens": ("global `handler` of", "leave it out"),
    "handlers, contexts, tokens: a context": ("global `context` of", "in the function"),
    "structs of msgspec": ("global `Taxon` of", INSIDE),
    "`numpy.frompyfunc`": ("global `double` of", INSIDE),
}
"""What the error says of each: where the object was found, and what to do."""

WORKS = {kind: dedent(code) for kind, code in WORKS.items()}
REFUSED = {kind: dedent(code) for kind, code in REFUSED.items()}
