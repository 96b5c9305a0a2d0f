"""The compiled code that runs a program: its records one after the other, on all threads.

A program (program.py) is a table of records in memory. The calling thread walks through it and
publishes each record in its slot; whoever is free claims parts of it, one at a time, until none is
left: the caller and the helpers, threads of the pool that watch the slots. A thread that the system
has put aside between two parts holds nobody up. All of it runs without Python and without the GIL.

    record    entry, block, parts                         words of 8 bytes
    slot      claim, entry, block, parts, done, memory    one per calling thread, in a cache line

`claim` holds the number of the turn in its upper half and in its lower half how many parts are left
to claim. A claim succeeds only if the word has not changed since it was read, so the record that
was read with it is the one the claim belongs to.

Two kinds of record are no kernels: CONDITION skips the record after it unless a flag is set, and at
PYTHON the executor returns to its caller, which runs a Python function and continues after it.
"""

from .atomics import add, call_entry, exchange_if, pause, read, sleep, write
from .compile import native
from .inline import inline

RECORD = 3  # words
CONDITION, PYTHON = 0, 1  # instead of an entry; a condition's block and parts: flags, their number
SLOTS = 32  # threads that get help at the same time; those beyond run their programs alone
LINE = 64  # bytes of a cache line
# The pool's state, in bytes: how many helpers are wanted and slots are in use; how many callers are
# in `execute`; the slots; and a word per helper, the address of its work memory
LIMIT, USED, RUNNING, FIRST_SLOT = 0, 8, LINE, 2 * LINE
HELPERS = FIRST_SLOT + SLOTS * LINE
ENTRY, BLOCK, PARTS, DONE, MEMORY = 8, 16, 24, 32, 40  # in a slot, after the claim
LEFT = (1 << 32) - 1  # the lower half of a claim
SPIN = 2000  # polls before a thread that waits lets others run: some 50 microseconds


@inline
def claim(slot):
    """Claim a part of what is published: (part, entry, block, parts); part is -1 if none is left.

    What is read between the two accesses to the claim is of its turn, if the claim succeeds.
    """
    while True:
        word = read(slot)
        if word & LEFT == 0:
            return -1, 0, 0, 0
        entry, block, parts = read(slot + ENTRY), read(slot + BLOCK), read(slot + PARTS)
        if exchange_if(slot, word, word - 1):
            return parts - (word & LEFT), entry, block, parts


@inline
def work(slot, memory):
    """Claim and run parts until none is left; returns how many.

    `memory`: where the address of this thread's work memory is. It is read after each claim: a
    record published meanwhile may need a larger one.
    """
    count = 0
    while True:
        part, entry, block, parts = claim(slot)
        if part < 0:
            return count
        call_entry(entry, part, parts, block, read(memory))
        add(slot + DONE, 1)
        count += 1


@inline
def any_set(flags, count):
    """Whether one of `count` words at `flags` is not 0."""
    found = 0
    for i in range(count):
        found |= read(flags + 8 * i)
    return found != 0


@native
def execute(records, first, count, state, slot):
    """Run the records from `first` on; returns `count`, or the index of a PYTHON record.

    `records`, `state` and `slot` are addresses.
    """
    alone = add(state + RUNNING, 1) > read(state + LIMIT)  # as many callers as threads
    i = first
    while i < count:
        at = records + i * (8 * RECORD)
        entry, block, parts = read(at), read(at + 8), read(at + 16)
        i += 1
        if entry == CONDITION:
            if not any_set(block, parts):
                i += 1
        elif entry == PYTHON:
            i -= 1
            break
        elif alone or parts == 1:
            for part in range(parts):
                call_entry(entry, part, parts, block, read(slot + MEMORY))
        else:
            write(slot + ENTRY, entry)
            write(slot + BLOCK, block)
            write(slot + PARTS, parts)
            write(slot + DONE, 0)
            turn = (read(slot) >> 32) + 1
            write(slot, (turn << 32) + parts)
            work(slot, slot + MEMORY)
            waited = 0
            while read(slot + DONE) < parts:
                waited = wait(waited)
    add(state + RUNNING, -1)
    return i


@inline
def wait(waited):
    """Spin, then let others run now and then; returns how often it has been called."""
    if waited < SPIN:
        pause()
    else:
        sleep()
    return waited + 1


@native
def help_others(state, number, polls):
    """Help whoever publishes; returns after `polls` without work, or if this helper is not needed.

    `number`: of the helper, from 0.
    """
    waited = 0
    while waited < polls and number < read(state + LIMIT):
        used, found = read(state + USED), 0
        for i in range(used):
            slot = state + FIRST_SLOT + i * LINE
            if read(slot) & LEFT != 0:
                found += work(slot, state + HELPERS + 8 * number)
        waited = 0 if found else waited + 1
        pause()


@native
def call(entry, part, parts, block, memory):
    """Run one part of a kernel."""
    call_entry(entry, part, parts, block, memory)
