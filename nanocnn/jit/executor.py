"""The compiled code that runs a program: its records one after the other, on all threads.

A program (program.py) is a table of records in memory. The calling thread walks through it and
publishes each record in its slot; whoever is free claims parts of it, one at a time, until none is
left: the caller and the helpers, threads of the pool that watch the slots. A thread that the system
has put aside between two parts holds nobody up. All of it runs without Python and without the GIL.

    record    entry, block, parts                     words of 8 bytes
    slot      claim, entry, block, parts, done, memory, stride; one per calling thread

`claim` holds the number of the turn in its upper half and in its lower half how many parts are left
to claim. A claim succeeds only if the word has not changed since it was read, so whatever was read
from the slot meanwhile is of the turn that the claim belongs to.

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
# The pool's state, in bytes: how many helpers are wanted and slots are in use, how often a thread
# polls before it sleeps; how many callers are in `execute`; the slots
LIMIT, USED, POLLS, RUNNING, FIRST_SLOT = 0, 8, 16, LINE, 2 * LINE
SIZE = FIRST_SLOT + SLOTS * LINE
ENTRY, BLOCK, PARTS, DONE, MEMORY, STRIDE = 8, 16, 24, 32, 40, 48  # in a slot, after the claim
LEFT = (1 << 32) - 1  # the lower half of a claim


@inline
def work(slot, number):
    """Claim and run parts until none is left; returns how many.

    `number`: which of the work memories of the slot this thread takes: 0 the caller, 1 and more the
    helpers.
    """
    count = 0
    while True:
        word = read(slot)
        if word & LEFT == 0:
            return count
        entry, block, parts = read(slot + ENTRY), read(slot + BLOCK), read(slot + PARTS)
        memory = read(slot + MEMORY) + number * read(slot + STRIDE)
        if exchange_if(slot, word, word - 1):
            call_entry(entry, parts - (word & LEFT), parts, block, memory)
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
def execute(records, first, count, state, slot, memory, stride):
    """Run the records from `first` on; returns `count`, or the index of a PYTHON record.

    `records`, `state`, `slot` and `memory` are addresses; the work memory of the next thread begins
    `stride` bytes later. While there are as many callers as threads, each works alone.
    """
    add(state + RUNNING, 1)
    write(slot + MEMORY, memory)
    write(slot + STRIDE, stride)
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
        elif parts == 1 or read(state + RUNNING) > read(state + LIMIT):  # callers, helpers
            for part in range(parts):
                call_entry(entry, part, parts, block, memory)
        else:
            write(slot + ENTRY, entry)
            write(slot + BLOCK, block)
            write(slot + PARTS, parts)
            write(slot + DONE, 0)
            turn = (read(slot) >> 32) + 1
            write(slot, (turn << 32) + parts)
            work(slot, 0)
            waited = 0
            while read(slot + DONE) < parts:
                waited += 1
                rest(waited > read(state + POLLS))
    add(state + RUNNING, -1)
    return i


@inline
def rest(long):
    """Between two looks at what others do: after a long wait, let other threads run."""
    if long:
        sleep()
    else:
        pause()


@native
def help_others(state, number, sleeps):
    """Help whoever publishes; returns if there is no work, or if this helper is not needed.

    `number`: of the helper, from 1. `sleeps`: how often it sleeps for a moment before it gives up.
    """
    waited = 0
    while number <= read(state + LIMIT):
        found = 0
        for i in range(read(state + USED)):
            found += work(state + FIRST_SLOT + i * LINE, number)
        waited = 0 if found else waited + 1
        if waited > read(state + POLLS) + sleeps:
            break
        rest(waited > read(state + POLLS))


@native
def call(entry, part, parts, block, memory):
    """Run one part of a kernel."""
    call_entry(entry, part, parts, block, memory)
