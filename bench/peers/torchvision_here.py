"""Import of torchvision that also works with a PyTorch for CPUs, where its compiled operators cannot be loaded.

Its transforms of Pillow's images use none of them; importing it only requires that two operators are declared.
"""

import torch

try:
    import torchvision
except RuntimeError:
    _declared = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _declared.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # noqa: F401 - as above
