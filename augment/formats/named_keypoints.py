"""Keypoints as COCO and YOLO write them: by their names, with the object that they belong to."""

from augment.annotations import Annotations


def lacking(annotations: Annotations) -> str | None:
    """Why keypoints cannot be written so; None where they can.

    Those whose object was dropped go with it, which is no fault.
    """
    labels, owners = annotations.keypoint_labels, _owners(annotations)
    if not annotations.keypoints:
        return None
    if annotations.boxes is None:
        return "keypoints are written with the box that they belong to, and this picture has no boxes"
    if labels is None:
        return "keypoints are written by their names, and these have none"
    if owners is None:
        return "keypoints are written with the box that they belong to, and of these nobody says which that is"
    named = [(label, box) for label, box in zip(labels, owners, strict=True) if box >= 0]
    if len(set(named)) < len(named):
        return "each keypoint of an object is written once, and an object has two of one name"
    return None


def by_box(annotations: Annotations) -> dict[int, dict[str, int]]:
    """For each box that has keypoints, the places of these in the picture's lists by their names."""
    found: dict[int, dict[str, int]] = {}
    pairs = zip(annotations.keypoint_labels or (), _owners(annotations) or (), strict=False)
    for i, (label, box) in enumerate(pairs):
        found.setdefault(box, {})[label] = i
    return found


def _owners(annotations: Annotations) -> tuple[int, ...] | None:
    """The box of each keypoint; the only box owns all of them where nobody says. None where that is not known."""
    if annotations.keypoint_boxes is not None:
        return annotations.keypoint_boxes
    number = len(annotations.keypoints or ())
    match len(annotations.boxes or ()):
        case 0:
            return (-1,) * number
        case 1:
            return (0,) * number
        case _:
            return None
