"""The demo: a folder of real photographs, expanded by the ``augment`` command, and a contact sheet of the result.

The photographs are those of scikit-image's wheel that are in the public domain or CC0; nothing is downloaded. Five of
them, with boxes, are also a small PASCAL VOC dataset. Running the demo again finds everything in place.
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
    (f"augment verify {EXPANDED.name}", "compare every file with the manifest, and render it again"),
    ("augment preview photos/cat/chelsea.png -p heavy -o grid.png", "draw what another pipeline makes of one image"),
    ("augment preview voc -p flip-rotate-crop -o boxes.png", "draw images with their boxes"),
    ("augment presets", "list all pipelines that come with it; with a name: print one, to start your own from"),
    ("augment expand YOUR_IMAGES OUT -p flip-rotate-crop --copies 4", "your own images; stop it and run it again"),
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
        f"\nWhat to try next, after\n  . .venv/bin/activate\n  cd {OUT}\n"
    )
    for words, why in NEXT:
        print(f"  {words}\n      {why}")


def copy_photos(folder: Path) -> int:
    """Copy the photographs that are missing into class folders; return the number of all."""
    for name, files in CLASSES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file in files:
            if not (folder / name / file).exists():
                shutil.copyfile(SHIPPED / file, folder / name / file)
    return sum(map(len, CLASSES.values()))


def command(*arguments: object) -> None:
    """Show an ``augment`` command and run it; end with its exit code where it fails."""
    words = [str(argument) for argument in arguments]
    print(f"$ augment {' '.join(words)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "augment", *words], check=False).returncode
    if code:
        sys.exit(code)


def draw(sheet: Path) -> None:
    """One row for a photograph: the original, then its copies as they lie in the expanded folder."""
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
