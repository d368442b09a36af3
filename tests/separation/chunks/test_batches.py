"""The batches of chunks adapt to the memory."""

import pytest
import torch
from torch import Tensor

from stemsplit.errors import InputError
from stemsplit.separation.chunks.batches import separated
from stemsplit.separation.chunks.blocks import chunks_of, cross_faded


class Device:
    """Returns each chunk as its only stem; has memory for `room` chunks at once."""

    def __init__(self, room: int, error: type[BaseException] = torch.OutOfMemoryError) -> None:
        self.room = room
        self.error = error
        self.batches: list[int] = []

    def __call__(self, chunks: Tensor) -> Tensor:
        if len(chunks) > self.room:
            raise self.error("CUDA out of memory")
        self.batches.append(len(chunks))
        return chunks[:, None]


def run(device: Device, batch: int | None, device_type: str = "cuda", count: int = 80) -> Tensor:
    signal = torch.arange(10.0 * count)[None]
    stems = separated(device, chunks_of([signal], 12, 2), 10, batch, device_type)
    result = torch.cat(list(cross_faded(stems, 2)), dim=-1)
    torch.testing.assert_close(result[0], signal)
    return result


def test_batches_grow_to_the_limit() -> None:
    device = Device(room=100)
    run(device, None)
    assert device.batches[:5] == [2, 4, 8, 16, 16]
    assert max(device.batches) == 16


def test_cpu_has_small_batches() -> None:
    device = Device(room=100)
    run(device, None, "cpu")
    assert device.batches[:4] == [2, 4, 4, 4]


def test_chosen_batch_is_used() -> None:
    device = Device(room=100)
    run(device, 3)
    assert device.batches[:5] == [3, 3, 3, 3, 3]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_full_memory_halves_the_batches(error: type[BaseException]) -> None:
    device = Device(room=3, error=error)
    run(device, 16)
    assert set(device.batches) <= {1, 2}
    assert device.batches.count(2) > 15


def test_memory_for_less_than_a_chunk_is_refused() -> None:
    with pytest.raises(InputError, match=r"too small for a chunk of 1\.2 s; choose shorter chunks"):
        run(Device(room=0), None)


def test_other_errors_are_not_taken_for_full_memory() -> None:
    class Broken(Device):
        def __call__(self, chunks: Tensor) -> Tensor:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        run(Broken(room=1), None)


def test_chunk_with_nan_is_refused_with_its_position() -> None:
    def separate(chunks: Tensor) -> Tensor:
        stems = chunks[:, None].clone()
        stems[chunks[:, None] == 25] = torch.nan
        return stems

    with pytest.raises(InputError, match=r"chunk at 2\.00 s"):
        list(separated(separate, chunks_of([torch.arange(60.0)[None]], 12, 2), 10, None, "cpu"))
