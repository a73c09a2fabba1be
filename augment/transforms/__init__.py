"""The one room that knows Albumentations and OpenCV."""
