"""The graph of a Dask collection, split into a small graph per chunk, in linear time.

Most chunks share no task. Values that several chunks need are of two kinds. A value that all
chunks need and that is computed from all chunks (a mean to subtract) is `common`: it is computed
once, before the passes. Any other value (a large chunk that is cut into small ones) is `shared`:
a shard computes it once for the consecutive chunks that need it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dask.core import get
from dask.optimization import cull

Key = Any
Graph = Mapping[Key, Any]

# A value with this many users (or all chunks as users) may be common.
MANY = 16


class Part(NamedTuple):
    """A part of a graph.

    Attributes
    ----------
    tasks : the tasks of the part
    keys : keys to compute, from the part or from outside
    needs : keys whose values come from outside
    """

    tasks: Graph
    keys: tuple[Key, ...]
    needs: tuple[Key, ...]

    def compute(self, values: Mapping[Key, Any]) -> list[Any]:
        """Compute the keys in this thread, given the values of `needs`."""
        if len(self.tasks) == len(self.keys) == 1:
            # This shortcut for the usual case (a chunk is one call) halves the cost.
            (task,) = self.tasks.values()
            if callable(task):
                return [task(values)]
        inputs = {key: values[key] for key in self.needs}
        inside = [key for key in self.keys if key in self.tasks]
        computed = dict(zip(inside, get(self.tasks, inside, dict(inputs)), strict=True))
        return [computed[key] if key in computed else inputs[key] for key in self.keys]


@dataclass(frozen=True)
class GraphParts:
    """A graph that is split into parts.

    Attributes
    ----------
    parts : one per chunk
    shared : part of each value that several chunks need
        Such a part may need another one. There are no cycles.
    common : part that computes what all chunks need
    """

    parts: tuple[Part, ...]
    shared: dict[Key, Part]
    common: Part

    def all_needs(self, part: Part) -> dict[Key, None]:
        """All keys that a part needs, directly or not, in an order to compute them in."""
        order: dict[Key, None] = {}
        stack = [(key, False) for key in reversed(part.needs)]
        while stack:
            key, is_ready = stack.pop()
            if is_ready or key not in self.shared:
                order[key] = None
            elif key not in order:
                stack.append((key, True))
                needs = self.shared[key].needs
                stack += [(need, False) for need in reversed(needs) if need not in order]
        return order


def split_graph(
    graph: Graph, chunks: Sequence[tuple[Key, ...]], outside: Iterable[Key] = ()
) -> GraphParts:
    """Split a graph into a part per chunk; the values of the keys `outside` come from elsewhere.

    Culling the graph once per chunk would take quadratic time if the chunks share a root.
    """
    external = frozenset(outside)
    targets = list({key for keys in chunks for key in keys})
    tasks, dependencies = cull({**graph, **dict.fromkeys(external)}, targets)
    common = _common_keys(tasks, dependencies, chunks, external)
    stops = external | common
    shared = set(_count_users(dependencies, chunks, stops))
    stops |= shared

    def part(keys: tuple[Key, ...], root: Key = None) -> Part:
        return _collect_part(tasks, dependencies, keys, stops, root)

    return GraphParts(
        parts=tuple(part(keys) for keys in chunks),
        shared={key: part((key,), root=key) for key in shared},
        common=_collect_part(tasks, dependencies, tuple(common), external, None),
    )


def _count_users(
    dependencies: Mapping[Key, Sequence[Key]],
    chunks: Sequence[tuple[Key, ...]],
    stops: frozenset[Key],
) -> Counter[Key]:
    """Count, for keys that several chunks reach, the chunks after the first one."""
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


def _common_keys(
    tasks: Graph,
    dependencies: Mapping[Key, Sequence[Key]],
    chunks: Sequence[tuple[Key, ...]],
    external: frozenset[Key],
) -> frozenset[Key]:
    """Keys that many chunks need and that take more tasks than they have users.

    A large chunk that is cut into many small ones also has many users, but takes only one or two
    tasks. Its key is not common.
    """
    many = min(len(chunks), MANY)
    return frozenset(
        key
        for key, others in _count_users(dependencies, chunks, external).items()
        if 1 < many <= others + 1 and dependencies[key] and len(cull(tasks, [key])[0]) > others + 1
    )


def _collect_part(
    tasks: Graph,
    dependencies: Mapping[Key, Sequence[Key]],
    keys: tuple[Key, ...],
    stops: frozenset[Key],
    root: Key,
) -> Part:
    """Collect the tasks that compute some keys, up to the stops; `root` is not a stop."""
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
