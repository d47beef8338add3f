"""Make repro/data/sets/glyph_shapes.npz: 100 characters in the faces that matplotlib ships.

Run once; the file is committed, because font rasterisers differ between versions. The split is a
seeded shuffle of the characters, frozen in the file by their order: 64 train, 16 val, 20 test.
"""

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from repro.system.seeding import Stream, rng

CHARACTERS = (
    "ABDEFGHJKLMNPQRTUWY"  # no look-alikes of another script or case
    "abdefghkmrty"
    "2345678"
    "ΓΔΘΛΞΠΣΦΨΩαβγδεζηθλμξπσφψω"
    "БДЖИЦЧШЭЮЯы"
    "&@#%$§¶€£¥?!+=±×÷∞√∂∇∀∃∈∫"
)
FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSansMono-Oblique",
)
SIZE = 40  # px of a shape; the character fills it but for a margin
MARGIN = 3
LEVELS = 16


def draw(character: str, face: str) -> np.ndarray:
    """The character's ink box stretched to fit the margin, its proportions kept, uint8 0..15."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    font = ImageFont.truetype(str(folder / f"{face}.ttf"), 128)
    canvas = Image.new("L", (320, 320))
    ImageDraw.Draw(canvas).text((160, 160), character, fill=255, font=font, anchor="mm")
    ink = canvas.crop(canvas.getbbox())
    scale = (SIZE - 2 * MARGIN) / max(ink.size)
    ink = ink.resize([max(1, round(side * scale)) for side in ink.size], Image.Resampling.BOX)
    shape = Image.new("L", (SIZE, SIZE))
    shape.paste(ink, ((SIZE - ink.width) // 2, (SIZE - ink.height) // 2))
    return np.asarray(shape, dtype=np.uint8) // (256 // LEVELS)


def main() -> None:
    characters = sorted(set(CHARACTERS))
    assert len(characters) == 100, len(characters)
    order = rng(0, Stream.CLASS_SPLIT).permutation(100)
    characters = [characters[i] for i in order]
    shapes = np.stack([[draw(character, face) for face in FACES] for character in characters])
    degrees = np.deg2rad(np.arange(-90, 91))
    np.savez_compressed(
        Path(__file__).parents[1] / "repro" / "data" / "sets" / "glyph_shapes.npz",
        shapes=shapes,
        code_points=np.array([ord(character) for character in characters], dtype=np.int32),
        sine=np.round(np.sin(degrees) * 2**14).astype(np.int32),
    )


if __name__ == "__main__":
    main()
