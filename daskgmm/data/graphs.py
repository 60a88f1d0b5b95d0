"""A collection's graph, cut into a small graph per chunk, in time linear in its size.

Most chunks share nothing. What several need is of two kinds. A value that all chunks need
and that all chunks make (a mean to subtract) is `common`: computed once, before the passes.
Anything else (a large chunk cut into small ones) is `shared`: a visit computes it once for
the consecutive chunks that need it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dask.core import get
from dask.optimization import cull

Key = Any
Graph = Mapping[Key, Any]

# Used by as many chunks, or by all, a value may be one that is made of all of them.
MANY = 16


class Part(NamedTuple):
    """A piece of a graph.

    Attributes
    ----------
    tasks : the piece
    keys : whose values are wanted; of the piece, or from outside
    needs : whose values come from outside
    """

    tasks: Graph
    keys: tuple[Key, ...]
    needs: tuple[Key, ...]

    def compute(self, values: Mapping[Key, Any]) -> list[Any]:
        """The values of the keys, given those it needs, in this thread."""
        if len(self.tasks) == len(self.keys) == 1:
            # The rule, at half the cost: a chunk that is one call.
            (task,) = self.tasks.values()
            if callable(task):
                return [task(values)]
        known = {key: values[key] for key in self.needs}
        inside = [key for key in self.keys if key in self.tasks]
        found = dict(zip(inside, get(self.tasks, inside, dict(known)), strict=True))
        return [found[key] if key in found else known[key] for key in self.keys]


@dataclass(frozen=True)
class Cut:
    """A graph in parts.

    Attributes
    ----------
    parts : one per chunk
    shared : part of each value that several chunks need
        They may need one another; none needs itself.
    common : part that makes what all chunks need of all the data
    """

    parts: tuple[Part, ...]
    shared: dict[Key, Part]
    common: Part

    def all_needs(self, part: Part) -> dict[Key, None]:
        """What a part needs, and what that needs in its turn, in an order to compute it in."""
        found: dict[Key, None] = {}
        stack = [(key, False) for key in reversed(part.needs)]
        while stack:
            key, is_ready = stack.pop()
            if is_ready or key not in self.shared:
                found[key] = None
            elif key not in found:
                stack.append((key, True))
                needs = self.shared[key].needs
                stack += [(need, False) for need in reversed(needs) if need not in found]
        return found


def cut(graph: Graph, chunks: Sequence[tuple[Key, ...]], outside: Iterable[Key] = ()) -> Cut:
    """Cut a graph at its chunks; the values of the keys `outside` will be given.

    Culling the graph for each chunk instead would take time quadratic in the chunks as soon
    as they share a root.
    """
    given = frozenset(outside)
    wanted = list({key for keys in chunks for key in keys})
    tasks, dependencies = cull({**graph, **dict.fromkeys(given)}, wanted)
    common = _common(tasks, dependencies, chunks, given)
    stops = given | common
    shared = set(_users(dependencies, chunks, stops))
    stops |= shared

    def part(keys: tuple[Key, ...], root: Key = None) -> Part:
        return _part(tasks, dependencies, keys, stops, root)

    return Cut(
        parts=tuple(part(keys) for keys in chunks),
        shared={key: part((key,), root=key) for key in shared},
        common=_part(tasks, dependencies, tuple(common), given, None),
    )


def _users(
    dependencies: Mapping[Key, Sequence[Key]],
    chunks: Sequence[tuple[Key, ...]],
    stops: frozenset[Key],
) -> Counter[Key]:
    """Keys where a chunk meets what an earlier one has taken, and how many chunks do."""
    owner: dict[Key, int] = {}
    users: Counter[Key] = Counter()
    for i, keys in enumerate(chunks):
        met = set()
        stack = list(keys)
        while stack:
            key = stack.pop()
            if key in stops:
                continue
            if key not in owner:
                owner[key] = i
                stack.extend(dependencies[key])
            elif owner[key] != i:
                met.add(key)
        users.update(met)
    return users


def _common(
    tasks: Graph,
    dependencies: Mapping[Key, Sequence[Key]],
    chunks: Sequence[tuple[Key, ...]],
    given: frozenset[Key],
) -> frozenset[Key]:
    """What many chunks need and what takes more tasks than it has users.

    A large chunk that is cut into many has as many users, but takes a task or two.
    """
    many = min(len(chunks), MANY)
    return frozenset(
        key
        for key, others in _users(dependencies, chunks, given).items()
        if 1 < many <= others + 1 and dependencies[key] and len(cull(tasks, [key])[0]) > others + 1
    )


def _part(
    tasks: Graph,
    dependencies: Mapping[Key, Sequence[Key]],
    keys: tuple[Key, ...],
    stops: frozenset[Key],
    root: Key,
) -> Part:
    """The tasks that make some keys, up to the stops; the root is none."""
    inside: dict[Key, Any] = {}
    needs: dict[Key, None] = {}
    stack = list(keys)
    while stack:
        key = stack.pop()
        if key in inside or key in needs:
            continue
        if key in stops and key != root:
            needs[key] = None
        else:
            inside[key] = tasks[key]
            stack.extend(dependencies[key])
    return Part(inside, keys, tuple(needs))
