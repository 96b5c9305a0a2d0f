"""Training one model on several processes: what they say to each other.

tree.py          the order in which the gradients of the shards of a batch are added
communicator.py  `Communicator`: one process, alone; `get_communicator`, `set_communicator`
mpi.py           the same for the processes that an MPI launcher started
shared.py        the sum among processes of one machine, in shared memory
watch.py         names the process that has died, if one dies
state.py         what all processes must have in common, and what is said where they differ

What the messages are about, shards and their gradients, is in models/shards.py.
"""

from .communicator import (
    Communicator as Communicator,
    get_communicator as get_communicator,
    join as join,
    set_communicator as set_communicator,
)
