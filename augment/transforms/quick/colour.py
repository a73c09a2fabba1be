"""A shift of colours that is linear in the picture's own, as one matrix."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.transforms.library import A, cv2


class FancyPCA(A.FancyPCA):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Each value is that of the original or a neighbour of it: it is the same sum, in OpenCV's fixed-point numbers.

    Means and covariances come from whole numbers and are exact; the original's are those of rounded floats.
    """

    def apply(self, img: NDArray[np.uint8], alpha_vector: NDArray[np.float32], **_: Any) -> NDArray[np.uint8]:
        """``img`` is uint8 (H, W, 3); a new array."""
        mean, covariance = moments(img)
        variances, axes = np.linalg.eigh(covariance)
        variances, axes = variances[::-1], axes[:, ::-1]
        shift = axes @ np.diag(alpha_vector * variances)
        matrix = np.column_stack([np.eye(3) + shift, -shift @ mean * 255])
        out: NDArray[Any] = cv2.transform(img, matrix)
        return out


def moments(image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means (3,) and unbiased covariances (3, 3) of the channels, black 0 and white 1."""
    planes = cv2.split(image)
    sums = np.array([cv2.sumElems(plane)[0] for plane in planes])
    squares = [cv2.norm(plane, cv2.NORM_L2SQR) for plane in planes]
    products = np.diag(squares)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        apart = cv2.norm(planes[i], planes[j], cv2.NORM_L2SQR)
        products[i, j] = products[j, i] = (squares[i] + squares[j] - apart) / 2
    count = planes[0].size
    covariance = (products - np.outer(sums, sums) / count) / max(count - 1, 1)
    return sums / count / 255, covariance / 255**2
