"""CUDA means the processor, in every spelling, and is noted once."""

import pytest
import torch

from derain.models.processor import forget_note, on_processor

SPELLINGS = {
    "cuda": lambda x: x.cuda(),
    "cuda-number": lambda x: x.cuda(0),
    "cuda-keyword": lambda x: x.cuda(device="cuda:0", non_blocking=True),
    "to-text": lambda x: x.to("cuda"),
    "to-number": lambda x: x.to(0),
    "to-device": lambda x: x.to(device=torch.device("cuda", 1)),
    "type-text": lambda x: x.type("torch.cuda.FloatTensor"),
    "type": lambda x: x.type(torch.cuda.FloatTensor),
    "constructor": lambda x: torch.cuda.FloatTensor(x.tolist()),
    "factory": lambda x: x + torch.zeros(1, device="cuda"),
    "like": lambda x: torch.ones_like(x, device="cuda:0"),
    "tensor": lambda x: torch.tensor([1.0], device=torch.device("cuda")),
    "module": lambda x: torch.nn.Linear(1, 1).cuda()(x),
    "module-to": lambda x: torch.nn.Linear(1, 1).to("cuda:0")(x),
    "parallel": lambda x: torch.nn.DataParallel(torch.nn.Linear(1, 1)).cuda()(x),
    "synchronize": lambda x: (torch.cuda.synchronize(), x)[1],
    "current": lambda x: x.to(torch.cuda.current_device()),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_is_sent_to_cuda_stays(spelling, said):
    forget_note()
    with on_processor():
        for _ in range(2):
            assert SPELLINGS[spelling](torch.ones(1)).device.type == "cpu"
    note = "the network asks for CUDA: here that means the processor"
    # A type's name is all that is seen of it.
    assert said() == [note] * (spelling not in ("type", "constructor"))


def test_a_checkpoint_that_a_constructor_loads(tmp_path):
    torch.save({"x": torch.ones(1)}, tmp_path / "x.pth")
    with on_processor():
        for arguments in ({"map_location": "cuda"}, {}):
            assert torch.load(tmp_path / "x.pth", **arguments)["x"].device.type == "cpu"


def test_afterwards_all_is_as_it_was():
    before = torch.load, torch.cuda.synchronize, torch.cuda.FloatTensor
    with pytest.raises(ZeroDivisionError), on_processor():
        raise ZeroDivisionError
    assert (torch.load, torch.cuda.synchronize, torch.cuda.FloatTensor) == before
