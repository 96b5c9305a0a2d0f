"""Memories of passes: what an owner saves is its own; and what kernel sets say they can do."""

import copy
import dataclasses
import gc
import pickle
import types
import weakref

import numpy as np
import pytest

import nanocnn
from nanocnn import Conv2D, Dense, Input, Layer, Sequential
from nanocnn.kernels import DEFAULTS, KERNEL_SETS, OPERATIONS, ability, get_kernels, reference
from nanocnn.kernels.memory import Arena, Memory
from nanocnn.models.plan import make_plan
from support.small_models import small_model

MEMORIES = pytest.mark.parametrize("memory", [Memory(), Arena("float32")], ids=["plain", "arena"])


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


class Owner:
    name = "it"


@MEMORIES
def test_a_new_owner_at_the_address_of_an_old_one_has_saved_nothing(memory):
    owners = [Owner() for _ in range(1000)]
    for each in owners:
        memory.save(each, 1)
        memory.out(each, y=(3,))
    addresses = {id(each) for each in owners}
    del owners, each
    found = [each for each in [Owner() for _ in range(1000)] if id(each) in addresses]
    assert found and not any(map(memory.holds, found))
    with pytest.raises(RuntimeError, match="it: backward was called before forward"):
        memory.saved(found[0])


def test_a_layer_used_alone_is_freed_at_once():
    layer = Dense(2)
    layer.build((3,))
    layer.forward(np.ones((4, 3), "f"))
    alive = weakref.ref(layer)
    gc.disable()
    try:
        del layer
        assert alive() is None
    finally:
        gc.enable()


def test_buffers_go_with_their_owner():
    memory, owner = Arena("float32"), Owner()
    memory.out(owner, y=(5, 2))
    assert memory.nbytes == 40
    del owner
    assert memory.nbytes == 0


@MEMORIES
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_of_a_memory_is_an_empty_one(memory, duplicate):
    owner = Owner()
    memory.save(owner, 1)
    other = duplicate(memory)
    assert type(other) is type(memory) and not other.holds(owner) and memory.holds(owner)


def test_a_copy_of_a_layer_has_a_memory_of_its_own():
    layer = Dense(2)
    assert isinstance(pickled(layer), Dense)
    layer.build((3,))
    x = np.ones((4, 3), "f")
    layer.forward(x)
    other = copy.deepcopy(layer, {id(layer.kernels): layer.kernels})
    with pytest.raises(RuntimeError, match="before forward"):
        other.backward(np.ones((4, 2), "f"))
    other.forward(x)
    other.backward(np.ones((4, 2), "f"))
    assert layer.grads == {} and other.grads["kernel"].shape == (3, 2)


def test_a_layer_that_compares_by_its_fields_works_in_a_model():
    @dataclasses.dataclass  # so it cannot be hashed
    class Scale(Layer):
        factor: float = 2.0

        def __post_init__(self):
            super().__init__()

        def forward(self, x):
            return x * np.float32(self.factor)

        def backward(self, dy):
            return dy * np.float32(self.factor)

    model = Sequential([Input((3,)), Scale(), Dense(1)], kernels="reference")
    model.compile("sgd", "mse")
    x = np.ones((4, 3), "f")
    model.fit(x, x[:, :1], verbose=0)
    assert model.predict(x).shape == (4, 1)
    assert (model.trace(x, x[:, :1])["scale"].y == 2).all()


# --- Kernel sets ---


@pytest.mark.parametrize("name", KERNEL_SETS)
def test_a_kernel_set_states_every_ability_and_has_what_it_states(name):
    kernels = get_kernels(name)
    assert DEFAULTS.keys() <= vars(kernels).keys()
    assert all(type(ability(kernels, n)) is type(default) for n, default in DEFAULTS.items())
    assert kernels.chooses == callable(getattr(kernels, "choose", None))
    assert kernels.fuses == callable(getattr(kernels, "conv2d_relu_pool_forward", None))
    assert all(getattr(kernels, n) is each for n, each in kernels.CAPTURABLE.items())
    assert kernels.CAPTURABLE.keys() >= set(OPERATIONS) or not kernels.writes_into
    assert all(f"\n{n} " in nanocnn.kernels.__doc__ for n in DEFAULTS)
    memory = small_model(name).execution_plan.memory()
    assert isinstance(memory, Arena) == kernels.writes_into


def test_a_module_of_some_functions_is_used_as_a_plain_set():
    """For layers on their own: it states nothing, so nothing is fused or written into buffers."""
    mine = types.ModuleType("mine")
    for name in ("conv2d_forward", "conv2d_backward", "relu_forward", "relu_backward"):
        setattr(mine, name, getattr(reference, name))
    layer = Conv2D(2, 3, activation="relu")
    layer.build((6, 6, 1), kernels=mine)
    plan = make_plan([layer], mine, "float32")
    x = np.random.default_rng(0).random((3, 6, 6, 1), np.float32)
    assert type(plan.memory()) is Memory and plan.uses_blas
    assert plan.stages[0].kernel() == "Conv2D"
    memory = plan.memory()
    y = plan.forward(x, True, memory)
    plan.backward(np.ones_like(y), memory)
    np.testing.assert_array_equal(plan.forward(x, False, plan.memory()), y)
    with pytest.raises(ValueError, match="expected a kernel set"):
        layer.build((6, 6, 1), kernels=types.ModuleType("empty"))
