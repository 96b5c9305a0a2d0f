"""A batch in shards on one process: the whole batch's gradient, in the memory of one shard."""

import numpy as np
import pytest

from nanocnn import SGD, BatchNormalization, Callback, Dense, Flatten, Input, Sequential
from nanocnn.distributed import Communicator
from nanocnn.kernels.memory import Arena
from nanocnn.models.gradients import Gradients
from nanocnn.models.shards import ShardedStep
from support.sharded import BATCH, Noisy, adam, network, train
from support.small_models import BOTH_SETS, bits, digits

X, Y = digits(BATCH)


def gradients(model, shards, x=X, y=Y):
    """The sum of the shards' gradients of a batch, and the changes of the layers' state."""
    data = model._checked_data(x, y)
    memory = model.execution_plan.memory()
    step = ShardedStep(model, len(x), memory, shards, Communicator())
    step._run_shards(data, slice(0, len(x)))
    step.sum.finish()
    assert isinstance(step.gradients, Gradients)
    return step.gradients.vector.copy()


def unmoved(**options):
    """`network` without an update that changes its weights."""
    return network(dtype="float64", optimizer=SGD(0.01), **options)


@BOTH_SETS
@pytest.mark.parametrize("rate", [0, 0.4], ids=["", "dropout"])
@pytest.mark.parametrize("normalized", [False, True], ids=["", "synchronized"])
@pytest.mark.parametrize("shards", [2, 3, 8, 12, 24, 40])
def test_the_shards_sum_is_the_whole_gradient(kernels, rate, normalized, shards):
    """With dropout too: its masks are those of the whole batch. 40: some have no samples."""
    options = {"kernels": kernels, "rate": rate, "normalized": normalized, "synchronized": True}
    whole = gradients(unmoved(**options), 1)
    found = gradients(unmoved(**options), shards)
    assert np.abs(found - whole).max() <= 1e-12 * np.abs(whole).max()


@BOTH_SETS
def test_custom_layers_between_synchronized_ones_keep_the_pass_of_each_shard(kernels):
    options = {"kernels": kernels, "rate": 0, "synchronized": True}
    whole = gradients(unmoved(custom=[Noisy()], **options), 1)
    found = gradients(unmoved(custom=[Noisy()], **options), 6)
    assert np.abs(found - whole).max() <= 1e-12 * np.abs(whole).max()


@pytest.mark.parametrize("case", ["own statistics", "custom, synchronized"])
def test_one_shard_gives_the_bits_of_fit_without_shards(case):
    with_shards, history = train(case, epochs=2, shards=1)
    without, expected = train(case, epochs=2, shards=None)
    assert bits(with_shards) == bits(without) and history.history == expected.history


@BOTH_SETS
@pytest.mark.parametrize("shards", [2, 3, 12])
def test_training_in_shards_stays_close_to_training_without(kernels, shards):
    """Loss, metrics, moving averages, weights: over batches that do not divide, in float64."""
    x, y = digits(BATCH * 3 + 10)
    results = []
    for count in (1, shards):
        model = network(kernels, "float64", synchronized=True, optimizer=adam())
        weight = np.linspace(0.5, 1.5, len(x))
        history = model.fit(x, y, BATCH, 3, shards=count, sample_weight=weight, verbose=0)
        state = model.get_weights()
        results.append((np.concatenate([w.ravel() for w in state]), history.history))
    (weights, history), (others, found) = results
    assert np.abs(weights - others).max() < 1e-9
    for name, values in history.items():
        assert np.abs(np.subtract(values, found[name])).max() < 1e-9


@BOTH_SETS
def test_own_statistics_are_those_of_each_shard(kernels):
    """The moving average takes the mean over the shards, each weighted by its samples."""
    layers = [Input((12, 10, 1)), BatchNormalization(momentum=0.9), Flatten(), Dense(10)]
    model = Sequential(layers, dtype="float64", kernels=kernels)
    model.compile(SGD(0.01), "mse")
    x = np.random.default_rng(0).random((10, 12, 10, 1))
    model.fit(x, np.zeros((10, 10)), 12, shards=4, shuffle=False, verbose=0)
    parts = np.split(x, [2, 5, 7])
    weights = [len(part) / 10 for part in parts]
    mean = sum(w * part.mean() for w, part in zip(weights, parts, strict=True))
    variance = sum(w * part.var() for w, part in zip(weights, parts, strict=True))
    state = model.layers[0].state
    assert np.isclose(state["moving_mean"], 0.1 * mean, rtol=1e-12)
    assert np.isclose(state["moving_variance"], 0.9 + 0.1 * variance, rtol=1e-12)


@pytest.mark.parametrize(("shards", "most"), [(4, 0.3), (8, 0.18), (16, 0.12)])
def test_shards_need_the_memory_of_one_shard(shards, most):
    """Beside the weights' gradients and the sums of the tree, whose number is a logarithm."""
    x, y = digits(512)

    def needed(count):
        model = network()
        model.fit(x, y, 512, shards=count, verbose=0)
        assert isinstance(model._memory, Arena)
        (step,) = model._memory.passes.values()
        passes = getattr(step, "passes", {0: step}).values()
        own = {id(each): each.x.nbytes + each.target.nbytes for each in passes}
        spare = sum(each.nbytes for each in getattr(step, "_spare", ()))
        return model._memory.nbytes + sum(own.values()) + spare

    whole, found = needed(1), needed(shards)
    print(f"{shards} shards: {found / 2**20:.2f} MiB, without shards {whole / 2**20:.2f} MiB")
    assert found < most * whole


@pytest.mark.parametrize("shards", [0, -2, 1.5, True, "4", [2]])
def test_a_number_of_shards_that_is_none_is_refused(shards):
    with pytest.raises(ValueError, match="shards"):
        network().fit(X, Y, BATCH, shards=shards, verbose=0)


def test_shards_that_do_not_divide_the_batch_are_refused_before_any_work():
    class Watch(Callback):
        def on_train_begin(self):
            raise AssertionError("work was done")

    model = network()
    with pytest.raises(ValueError, match=r"shards=5, batch_size=24, .* such as 25$"):
        model.fit(X, Y, BATCH, shards=5, callbacks=[Watch()], verbose=0)
