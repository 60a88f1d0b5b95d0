"""The plan of a fit: its passes and its memory, before it runs."""

import math
import pickle
from dataclasses import dataclass

import numpy as np

from daskgmm.data.dataset import Dataset, Layout
from daskgmm.data.execution.resources import Resources
from daskgmm.errors import DataError
from daskgmm.fit.settings import Settings
from daskgmm.fit.split_merge.relocate import TAIL_ROWS
from daskgmm.kernels import Kernel
from daskgmm.model.covariance import Family
from daskgmm.model.sufficient_statistics import SufficientStatistics

# Copies of a chunk's rows while it is decoded.
DECODING_COPIES = 2

# Number of chunks that glibc keeps in memory after a thread frees them (measured). This applies to
# chunks below 32 MiB; glibc always returns larger ones.
ALLOCATOR_COPIES, MAX_ALLOCATOR_BYTES = 2, 64 << 20

# Blocks of the survey and of labels, for any shape.
WORKSPACE_BYTES = 24 << 20


@dataclass(frozen=True)
class Plan:
    """The cost of a fit.

    Attributes
    ----------
    layout : Layout
        Rows and chunks. Counts are None if they are unknown.
    resources : Resources
    n_shards : int
        Number of tasks per pass.
    n_passes : (int, int)
        Smallest and largest number of passes over the data.
    bytes_per_row : int
        Memory of a thread per row of its chunk.
    fixed_bytes_per_thread : int
        Memory of a thread for blocks, sums and parameters.
    driver_bytes : int
        Memory of the driver for the sample, the sums and the parameters.
    """

    layout: Layout
    resources: Resources
    n_shards: int
    n_passes: tuple[int, int]
    bytes_per_row: int
    fixed_bytes_per_thread: int
    driver_bytes: int

    @property
    def bytes_per_pass(self) -> int | None:
        """Bytes of the rows that a pass reads; None if the rows are not counted."""
        n_rows = self.layout.n_rows
        return None if n_rows is None else n_rows * self.layout.row_bytes

    @property
    def bytes_per_thread(self) -> int | None:
        """Peak memory of a thread in a pass; None if the rows are not counted."""
        longest = self.layout.longest
        return (
            None if longest is None else longest * self.bytes_per_row + self.fixed_bytes_per_thread
        )

    def raise_for_memory(self) -> None:
        """Raise DataError if a chunk does not fit into memory, and name a size that fits."""
        layout, resources, per_thread = self.layout, self.resources, self.bytes_per_thread
        n_threads = min(resources.threads_per_process, layout.n_chunks)
        if layout.lengths is None or per_thread is None or n_threads * per_thread <= resources.room:
            return
        longest = max(layout.lengths)
        rows = int((resources.room / n_threads - self.fixed_bytes_per_thread) // self.bytes_per_row)
        limit = resources.memory_used + n_threads * per_thread
        threads = f", and {n_threads} threads run at once" if n_threads > 1 else ""
        smaller = f"chunks of at most {rows:,} rows, or " if rows > 0 else ""
        raise DataError(
            f"chunk {layout.lengths.index(longest)} has {longest:,} rows "
            f"({mebibytes(longest * layout.row_bytes)}) and needs {mebibytes(per_thread)} of "
            f"memory{threads}; a process has {mebibytes(max(resources.room, 0))} for this: use "
            f"{smaller}processes with at least {mebibytes(limit)}"
        )

    def lines(self) -> dict[str, str]:
        """Return the plan as texts, by name."""
        layout, resources, longest = self.layout, self.resources, self.layout.longest
        unknown = "unknown until the rows are counted"
        n_rows = unknown if layout.n_rows is None else f"{layout.n_rows:,}"
        chunks = f"{layout.n_chunks:,}"
        if longest is not None:
            chunks += f" of at most {longest:,} rows ({mebibytes(longest * layout.row_bytes)})"
        per_thread = self.bytes_per_thread
        limit = resources.memory_limit
        most = "" if limit is None else f", at most {mebibytes(limit)}"
        return {
            "rows": f"{n_rows}, {layout.n_features} features of {layout.dtype}",
            "chunks": chunks,
            "tasks per pass": f"{self.n_shards:,} on {resources.n_threads:,} "
            f"thread{'s' * (resources.n_threads > 1)}",
            "bytes per pass": unknown
            if self.bytes_per_pass is None
            else f"{self.bytes_per_pass / 1e9:,.3g} GB",
            "passes": f"{self.n_passes[0]} to {self.n_passes[1]}",
            "memory": f"{unknown if per_thread is None else mebibytes(per_thread)} per thread; "
            f"{resources.threads_per_process} per process, which needs "
            f"{mebibytes(resources.memory_used)} itself{most}"
            + ("; chunks share values of unknown size" if layout.shares_values else ""),
            "driver": f"{mebibytes(self.driver_bytes)}, most of it the sample",
        }

    def __str__(self) -> str:
        return "\n".join(f"{name:<15} {value}" for name, value in self.lines().items())


def mebibytes(n_bytes: float) -> str:
    """Return a number of bytes as text."""
    return f"{n_bytes / 2**20:,.0f} MiB" if n_bytes >= 10 * 2**20 else f"{n_bytes / 2**20:.1f} MiB"


def plan_fit(dataset: Dataset, settings: Settings, resources: Resources) -> Plan:
    """Return the plan of a fit. It reads no data."""
    layout = dataset.layout
    n_shards = dataset.n_shards(resources.n_threads)
    sums, parameters, workspace = _sizes(settings.family, settings.n_components, layout.n_features)
    if settings.accelerated and settings.sample_start:
        sums += TAIL_ROWS * (layout.row_bytes + 24)
    sums, parameters = settings.n_candidates * sums, settings.n_candidates * parameters
    levels = max(layout.n_chunks, 1).bit_length()
    sample = min(settings.sample_size(layout.n_features), layout.n_rows or 2**63)
    sample_bytes = sample * (layout.row_bytes + 24)
    allocator_keeps = resources.keeps_freed_memory and not layout.is_resident
    allocator_bytes = ALLOCATOR_COPIES * (layout.longest or 0) * layout.row_bytes
    sums_in_shard = math.ceil(levels - math.log2(n_shards)) + 3
    survey = 8 * layout.n_features**2
    n_initial = dataset.n_preparation_passes + 1 + settings.n_initial_passes
    return Plan(
        layout=layout,
        resources=resources,
        n_shards=n_shards,
        n_passes=(n_initial + 1, n_initial + settings.rule.max_iter + 1),
        bytes_per_row=layout.copy_bytes
        + layout.row_bytes * DECODING_COPIES * (not layout.is_resident),
        fixed_bytes_per_thread=WORKSPACE_BYTES
        + (min(allocator_bytes, MAX_ALLOCATOR_BYTES) if allocator_keeps else 0)
        + max(
            2 * workspace + sums_in_shard * sums + 2 * parameters,
            sums_in_shard * survey + 2 * sample_bytes // n_shards,
        ),
        driver_bytes=4 * sample_bytes + (levels + n_shards) * max(sums, survey) + 4 * parameters,
    )


def _sizes(family: Family, n_components: int, n_features: int) -> tuple[int, int, int]:
    """Return the bytes of a candidate's sums, its densities and the largest kernel workspace."""
    shape = family.shape(n_components, n_features)
    ones, zeros = np.ones(n_components), np.zeros((n_components, n_features))
    unit = family.covariances(np.zeros(shape), ones, n_features, 1.0)
    factors = family.precision_cholesky(unit)
    kernels: list[Kernel] = [family.triangular(ones, zeros, factors)]
    if family.crossover is None or n_features < family.crossover:
        kernels.append(family.quadratic(ones, zeros, factors, zeros[0]))
    return (
        len(pickle.dumps(SufficientStatistics.zero(family, zeros))),
        max(len(pickle.dumps(kernel)) for kernel in kernels),
        max(kernel.run().nbytes for kernel in kernels),
    )
