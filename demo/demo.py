"""Demo: a folder of photographs, expanded by the ``augment`` command, and a contact sheet of the result.

The photographs come with scikit-image and are in the public domain or CC0; nothing is downloaded. Five of them, with
boxes, also become a small PASCAL VOC dataset. A second run keeps all files.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import boxes
import over_http
import skimage

import augment

OUT = Path("demo-output")
PHOTOS = OUT / "photos"
VOC = OUT / "voc"
EXPANDED = OUT / "photos-x4"
SHEET = OUT / "contact-sheet.jpg"
COPIES = 4
SEED = 7
PIPELINE = "inception"

SHIPPED = Path(skimage.__file__).parent / "data"
CLASSES = {
    "cat": ["chelsea.png"],  # CC0, Stefan van der Walt
    "coffee": ["coffee.png"],  # CC0, Rachel Michetti
    "person": ["astronaut.png", "camera.png"],  # public domain, NASA; CC0, Lav Varshney
    "space": ["rocket.jpg", "hubble_deep_field.jpg"],  # public domain, SpaceX; public domain, NASA
    "texture": ["brick.png", "grass.png", "gravel.png"],  # CC0, CC0Textures
}
ON_THE_SHEET = ["person/astronaut", "cat/chelsea", "coffee/coffee", "space/rocket"]

NEXT = [
    (f"augment verify {EXPANDED.name}", "compare every file with the manifest and with a new rendering"),
    ("augment preview photos/cat/chelsea.png -p heavy -o grid.png", "draw copies of one image by another pipeline"),
    ("augment preview voc -p flip-rotate-crop -o boxes.png", "draw images with their boxes"),
    ("augment presets", "list the preset pipelines; with a name, print one to start your own from"),
    (
        "augment expand YOUR_IMAGES OUT -p flip-rotate-crop --copies 4",
        "expand your own images; stop it and run it again to resume",
    ),
]


def main() -> None:
    """Copy the photographs, expand them and draw the sheet."""
    num_photos = copy_photos(PHOTOS)
    print(f"{num_photos} photographs in {len(CLASSES)} class folders: {PHOTOS}")
    print(f"{boxes.write(SHIPPED, VOC)} of them with boxes, as PASCAL VOC: {VOC}\n")
    started = time.perf_counter()
    command("expand", PHOTOS, EXPANDED, "--pipeline", PIPELINE, "--copies", COPIES, "--seed", SEED)
    draw(SHEET)
    over_http.show(PHOTOS, OUT)
    print(
        f"\nDone in {time.perf_counter() - started:.1f} s. Look at\n"
        f"  {SHEET.resolve()}\n"
        f"  {EXPANDED.resolve()}\n"
        f"\nTry next, after\n  . .venv/bin/activate\n  cd {OUT}\n"
    )
    for words, why in NEXT:
        print(f"  {words}\n      {why}")


def copy_photos(folder: Path) -> int:
    """Copy missing photographs into class folders and return the number of all photographs."""
    for name, files in CLASSES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file in files:
            if not (folder / name / file).exists():
                shutil.copyfile(SHIPPED / file, folder / name / file)
    return sum(map(len, CLASSES.values()))


def command(*arguments: object) -> None:
    """Print an ``augment`` command and run it; exit with its exit code if it fails."""
    words = [str(argument) for argument in arguments]
    print(f"$ augment {' '.join(words)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "augment", *words], check=False).returncode
    if code:
        sys.exit(code)


def draw(sheet: Path) -> None:
    """Draw the sheet, with one row for each photograph: the original, then its copies in the expanded folder."""
    images, labels = [], []
    for key in ON_THE_SHEET:
        (original,) = PHOTOS.glob(f"{key}.*")
        copies = [EXPANDED / f"{key}__{copy}{original.suffix}" for copy in range(COPIES)]
        for path, label in zip([original, *copies], [original.name, *(copy.name for copy in copies)], strict=True):
            images.append(augment.decode_image(path.read_bytes()))
            labels.append(label)
    grid = augment.contact_sheet(images, labels, columns=1 + COPIES, cell_px=180)
    sheet.write_bytes(augment.encode_image(grid, "jpeg", 85))


if __name__ == "__main__":
    main()
