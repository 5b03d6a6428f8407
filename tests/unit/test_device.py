"""Work in threads: the same results in the same order, and torch's threads as they were."""

import pytest
import torch
from isoplan.base.device import in_threads

CPU = torch.device("cpu")


@pytest.mark.parametrize("threads", [1, 2])
def test_work_in_threads_is_that_of_one(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        seen = []

        def work(k):
            seen.append(torch.get_num_threads())
            return k * k

        assert list(in_threads(work, range(6), CPU)) == [0, 1, 4, 9, 16, 25]
        assert set(seen) == {1}
        assert torch.get_num_threads() == threads
        with pytest.raises(ZeroDivisionError):
            list(in_threads(lambda k: 1 // k, [1, 0, 2], CPU))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
