"""The body of an answer as a reader of Arrow takes it: pixels go from the socket into the memory that arrays view."""

import numpy as np

from service.client.transport import Answer

_LARGE_BYTES = 1 << 16
"""What has memory of its own: the body of a batch; schemas and headers of messages are less."""


class Received:
    """A source of bytes: what ``pyarrow.ipc.open_stream`` asks of a file. Of one thread at a time."""

    closed = False

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def read(self, size: int) -> bytes | memoryview:
        """The next bytes, fewer only at the end; many are a read-only view of new memory.

        Raises what reading the answer raises (``transport.TRANSIENT``).
        """
        if size < _LARGE_BYTES:
            return self._answer.read(size)
        memory = np.empty(size, np.uint8).data  # numpy asks for huge pages, a hundredth of the faults
        return memory[: self._answer.fill(memory)].toreadonly()
