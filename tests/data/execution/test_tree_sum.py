from hypothesis import given, settings
from hypothesis import strategies as st

from daskgmm.data.execution.shards import Partial, TreeSum


class Trace(str):
    """A string whose sum shows the tree of additions."""

    __slots__ = ()

    def __add__(self, other):
        return Trace(f"({self}+{other})")


def specified(first, stop):
    """The definition of the tree: split at the largest power of two inside the range."""
    if stop - first == 1:
        return f"{first}"
    half = 1 << (stop - first - 1).bit_length() - 1
    return f"({specified(first, first + half)}+{specified(first + half, stop)})"


def traced(numbers):
    tree = TreeSum()
    for number in numbers:
        tree.add(Partial(number, 1, Trace(number)))
    return tree


@given(st.integers(1, 200))
def test_the_sum_is_the_specified_tree(n_chunks):
    assert traced(range(n_chunks)).total() == specified(0, n_chunks)


@given(st.permutations(range(37)))
def test_any_order_of_arrival_gives_the_same_sum(numbers):
    assert traced(numbers).total() == specified(0, 37)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=80), st.randoms())
def test_any_distribution_of_chunks_gives_the_same_sum(owners, random):
    # One of four workers adds each chunk, in chunk order. Their sums arrive in any order.
    shares = [traced(i for i, o in enumerate(owners) if o == owner) for owner in range(4)]
    partials = [partial for share in shares for partial in share.partials]
    random.shuffle(partials)
    tree = TreeSum()
    tree.extend(partials)
    assert tree.total() == specified(0, len(owners))


@given(st.integers(1, 10_000))
@settings(max_examples=25)
def test_few_partial_sums_are_in_memory(n_chunks):
    tree = TreeSum()
    for number in range(n_chunks):
        tree.add(Partial(number, 1, 1))
        assert len(tree.partials) <= 14
    assert tree.total() == n_chunks
