"""`inline` and `noinline` do what they say, whoever calls the function first."""

import numba
import pytest

from nanocnn.jit.inline import inline, noinline


@pytest.mark.parametrize("decorator, calls", [(noinline, 1), (inline, 0)])
def test_a_callee_is_called_or_inlined_even_if_an_inline_function_calls_it_first(decorator, calls):
    @decorator
    def tripled(x):
        return x * 3.0 + 1.0

    @inline
    def between(x):
        return tripled(x)

    caller = numba.njit(lambda x: between(x))  # the code of a kernel from the cache is not known
    assert caller(2.0) == 7.0
    code = caller.inspect_llvm(caller.signatures[0])
    lines = [line for line in code.splitlines() if "tripled" in line]
    assert sum("call i32" in line for line in lines) == calls
    assert sum(line.startswith("define") for line in lines) == calls
