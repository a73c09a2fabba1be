"""Run lengths of a binary mask as COCO writes them: how long it is 0, then 1, then 0 …, column by column.

The text is that of pycocotools (``rleToString`` and ``rleFrString`` in its maskApi.c): numbers of five bits a character
and a flag for "more", each from the third on as its difference to the one before the last. That reader trusts what it
gets: text that claims more pixels than the mask has is written past the end of the memory, of text that claims less the
rest of the mask is whatever the memory held. So the text of strangers is read here.
"""

_FIRST = 48
_MORE = 0x20
_SIGN = 0x10
_MOST_GROUPS = 13
"""Characters of one number: 64 bits."""


def read(counts: str, *, height: int, width: int) -> list[int]:
    """The run lengths in this text: none is negative and their sum is ``height * width``. Raises ValueError."""
    runs: list[int] = []
    number, shift = 0, 0
    for char in counts:
        group = ord(char) - _FIRST
        if not 0 <= group < 2 * _MORE or shift >= 5 * _MOST_GROUPS:
            raise ValueError(f"run lengths hold no {char!r} there")
        number |= (group & (_MORE - 1)) << shift
        shift += 5
        if group & _MORE:
            continue
        if group & _SIGN:
            number -= 1 << shift
        if len(runs) > 2:
            number += runs[-2]
        if number < 0:
            raise ValueError(f"run {len(runs)} is {number} pixels long")
        runs.append(number)
        number, shift = 0, 0
    if shift:
        raise ValueError("run lengths end inside a number")
    if sum(runs) != height * width:
        raise ValueError(f"run lengths make {sum(runs)} pixels, not {width} x {height}")
    return runs
