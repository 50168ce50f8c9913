"""Types of the compiled engine (csrc/bindings). Private: callers go through run.run.

The engine checks values (NaN, infinity, zero rows, norms out of range, groups too large), and
refuses shapes, dtypes and layouts that arrays/ should have converted.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypedDict

import numpy as np
import numpy.typing as npt

from .backend.faiss_exact import Index
from .progress import Stage

class InstructionSet(TypedDict):
    name: str
    description: str
    built: bool
    supported: bool
    reason: str

class LinkedFaiss(TypedDict):
    version: str
    missing: str  # why there is none

class CudaDevice(TypedDict):
    index: int
    name: str
    capability: int  # 10 * major + minor
    memory: int
    missing: dict[str, str]  # by kernel: why it cannot run there, empty if it can

class CudaRates(TypedDict):  # a second
    int8_operations: float
    fp16_operations: float
    copied_bytes: float

class CudaKernelRate(TypedDict):  # a second
    operations: float
    bytes: float

class CudaWrongBound(TypedDict):
    source: int
    group: int
    found: float
    expected: float

class CudaScanCheck(TypedDict):
    bounds: int
    wrong: int
    first: CudaWrongBound | None

class CudaKernel(TypedDict):
    name: str
    description: str

class GuardedRange:  # memory of a mapped file: zeros instead of SIGBUS, until close()
    def __init__(self, address: int, size: int) -> None: ...
    @property
    def broken(self) -> bool: ...  # zeros have taken the place of pages
    def close(self) -> None: ...

class InnerProductIndex: ...

class PythonIndex(InnerProductIndex):
    def __init__(self, index: Index) -> None: ...

class LinkedFlatIndex(InnerProductIndex):
    def __init__(self) -> None: ...

linked_faiss: LinkedFaiss

class Engine: ...

class CpuEngine(Engine):
    def __init__(self) -> None: ...

class FaissEngine(Engine):
    def __init__(self, index: InnerProductIndex) -> None: ...

class ApproxEngine(Engine):
    def __init__(self, index: InnerProductIndex) -> None: ...

class WrongKernel(RuntimeError): ...  # a kernel was wrong: the same call has another

class DeviceRows:  # [n, dim] on a device, as the engine takes them
    @property
    def shape(self) -> tuple[int, int]: ...

# From here to cuda_versions() there only where CUDA was built.
class CudaStream:
    def __init__(self, device: int) -> None: ...
    @property
    def handle(self) -> int: ...

class DeviceTensor:  # an array on a device, borrowed of its owner through __dlpack__
    def __init__(self, owner: Any, stream: int) -> None: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def device(self) -> int: ...
    def rows(self, name: str) -> DeviceRows: ...
    def to_host(self) -> npt.NDArray[Any]: ...  # bfloat16 as the uint16 of its bits

class CudaEngine(Engine):
    # host: free_cached() -> bool and warn(message: str), or None.
    def __init__(self, device: int, kernel: str, stream: int, host: Any = None) -> None: ...

def cuda_rates(device: int, copied: int, seconds: float) -> CudaRates: ...
def cuda_kernel_rate(
    device: int, kernel: str, dim: int, latents: int, sources: int, seconds: float
) -> CudaKernelRate: ...
def cuda_scan_check(
    kernel: str, dim: int, latents: int, sources: int, device: int = 0, seed: int = 1
) -> CudaScanCheck: ...
def cuda_versions() -> tuple[int, int]: ...  # of the driver and of this build
def cuda_missing() -> str: ...
def cuda_devices() -> list[CudaDevice]: ...
def cuda_kernels() -> list[CudaKernel]: ...
def instruction_sets() -> list[InstructionSet]: ...
def int8_rate(instruction_set: str, dim: int, seconds: float) -> float: ...

class Exchange(Protocol):  # of equally long bytes; `received` is world times as long as `sent`
    @property
    def rank(self) -> int: ...
    @property
    def world(self) -> int: ...
    def all_gather(self, sent: memoryview, received: memoryview, /) -> None: ...

class ShardedMatch:
    """This process's part of Algorithm 1 over the latents of many processes.

    `index` holds the rows of `latents` among those of all processes, ascending, and `total` counts
    all of them. Rows that have no norm are refused, by their rows in `latents`.
    """

    def __init__(
        self,
        latents: npt.NDArray[np.float32] | npt.NDArray[np.float64],  # [m, dim], may be empty
        index: npt.NDArray[np.int64],  # [m]
        *,
        total: int,
        mean: npt.NDArray[np.float64] | None,  # [dim]
        order: str,
        cone: int,
        instruction_set: str,
        threads: int,
        memory: int,
        most_sources: int,
        float64_sources: bool,
        device: int | None = None,  # None: on the host
        kernel: str = "",  # of the device; empty: the best one
        exchange: Exchange,
    ) -> None: ...
    def remove(self, taken: npt.NDArray[np.int64]) -> None:
        """Take what an earlier run took, in its order; the same calls on all processes."""

    def run(
        self,
        sources: npt.NDArray[np.float32] | npt.NDArray[np.float64],  # [n, dim]
        *,
        latent: npt.NDArray[np.int64],  # [n], filled as the run advances
        cosine: npt.NDArray[np.float64],  # [n], too
        poll: Callable[[int], None] | None,
    ) -> None:
        """Match the sources that come next, the same on all processes, in visiting order."""

    def stats(self) -> dict[str, Any]: ...

def row_norms(
    rows: npt.NDArray[np.float32] | npt.NDArray[np.float64],  # [n, dim]
    *,
    mean: npt.NDArray[np.float64] | None = None,  # [dim]
    threads: int = 1,
) -> npt.NDArray[np.float64]: ...  # [n]
def column_sums(
    rows: npt.NDArray[np.float32] | npt.NDArray[np.float64],  # [n, dim]
) -> npt.NDArray[np.float64]: ...  # [dim]
def match_rows(
    latents: npt.NDArray[np.float32] | npt.NDArray[np.float64] | DeviceRows,  # [m, dim]
    sources: npt.NDArray[np.float32] | npt.NDArray[np.float64] | DeviceRows,  # [n, dim]
    *,
    order: str,
    cone: int,
    center: bool,
    source_groups: npt.NDArray[np.int64] | None,  # [n]
    latent_groups: npt.NDArray[np.int64] | None,  # [m]
    instruction_set: str,
    engine: Engine,
    threads: int,
    memory: int,
    visited: npt.NDArray[np.int64],  # [n], written
    start: int,
    poll: Callable[[int], None] | None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], dict[str, Any]]: ...

class OptimalState:  # where a run of optimal_rows begins, and where it stands
    def __init__(self, keeps: bool) -> None: ...  # the last state, when the run has ended
    def resume(self, arrays: dict[str, npt.NDArray[Any]]) -> None: ...
    def arrays(self) -> dict[str, npt.NDArray[Any]]: ...  # in a poll, or after the run
    @property
    def steps(self) -> int: ...  # grows while the run goes on
    @property
    def stage(self) -> Stage: ...  # in a poll

def optimal_rows(
    latents: npt.NDArray[np.float32] | npt.NDArray[np.float64],  # [m, dim]
    sources: npt.NDArray[np.float32] | npt.NDArray[np.float64],  # [n, dim]
    *,
    tolerance: float,
    center: bool = False,
    source_groups: npt.NDArray[np.int64] | None = None,  # [n]
    latent_groups: npt.NDArray[np.int64] | None = None,  # [m]
    instruction_set: str,
    engine: Engine,
    threads: int,
    memory: int = 0,  # of a device
    depth: int,
    longest: int = 0,
    state: OptimalState | None = None,
    poll: Callable[[int], object] | None,
) -> tuple[
    npt.NDArray[np.int64],  # assignment [n]
    npt.NDArray[np.float64],  # cosine [n]
    npt.NDArray[np.float64],  # prices [m]
    dict[str, Any],
]: ...
def sharded_optimal_rows(
    latents: npt.NDArray[np.float32] | npt.NDArray[np.float64],  # [m, dim], of this process
    index: npt.NDArray[np.int64],  # [m], among the rows of all processes, ascending
    sources: npt.NDArray[np.float32] | npt.NDArray[np.float64],  # [n, dim], of all processes
    *,
    total: int,  # latents of all processes
    mean: npt.NDArray[np.float64],  # [dim] of all latents
    tolerance: float,
    center: bool = False,
    source_groups: npt.NDArray[np.int64] | None = None,  # [n]
    latent_groups: npt.NDArray[np.int64] | None = None,  # [total]
    instruction_set: str,
    threads: int,
    depth: int,
    longest: int = 0,
    sample_from: int = 2048,
    exchange: Exchange,
    state: OptimalState | None = None,
    poll: Callable[[int], object] | None,
) -> tuple[
    npt.NDArray[np.int64],  # assignment [n]
    npt.NDArray[np.float64],  # cosine [n]
    npt.NDArray[np.float64],  # prices [total]
    dict[str, Any],
]: ...
def assign_rows(
    latents: npt.NDArray[np.float32] | npt.NDArray[np.float64],  # [m, dim]
    sources: npt.NDArray[np.float32] | npt.NDArray[np.float64],  # [n, dim]
    prices: npt.NDArray[np.float64],  # [m]
    *,
    instruction_set: str,
    threads: int,
    poll: Callable[[int], object] | None,
) -> npt.NDArray[np.int64]: ...
def audit_rows(
    latents: npt.NDArray[np.float32] | npt.NDArray[np.float64],  # [m, dim]
    sources: npt.NDArray[np.float32] | npt.NDArray[np.float64],  # [n, dim]
    *,
    order: str,
    cone: int,
    center: bool,
    source_groups: npt.NDArray[np.int64] | None,  # [n]
    latent_groups: npt.NDArray[np.int64] | None,  # [m]
    instruction_set: str,
    threads: int,
    memory: int,
    visited: npt.NDArray[np.int64],  # [n]
    positions: npt.NDArray[np.int64],  # ascending
    poll: Callable[[int], None] | None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]: ...
