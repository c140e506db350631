"""A camera whose picture costs as many bits as a layer may have. The browser's own fake camera costs a
quarter: a poor line would carry all of it."""

from pathlib import Path

import numpy

WIDTH, HEIGHT, FPS = 1280, 720, 10
# Two seconds, then from the start.
_FRAMES = 20


def write_camera(path: Path, *, seed: int = 1) -> tuple[str, str]:
    """Writes a moving picture (YUV4MPEG2); the flags for Chromium to take it for its camera.

    Patches of many sizes that move, under grain that is new in every frame: no encoder can foresee it.
    """
    random = numpy.random.default_rng(seed)
    picture = numpy.zeros((HEIGHT, WIDTH))
    for patch in (80, 20, 5):
        coarse = random.uniform(-35, 35, (HEIGHT // patch + 1, WIDTH // patch))
        picture += numpy.kron(coarse, numpy.ones((patch, patch)))[:HEIGHT]
    gray = numpy.full(2 * (WIDTH // 2) * (HEIGHT // 2), 128, dtype=numpy.uint8).tobytes()
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FPS}:1 Ip A1:1 C420jpeg\n".encode())
        for number in range(_FRAMES):
            grain = random.normal(0, 6, (HEIGHT, WIDTH))
            luma = numpy.clip(numpy.roll(picture, 8 * number, axis=1) + grain + 128, 16, 235)
            file.write(b"FRAME\n" + luma.astype(numpy.uint8).tobytes() + gray)
    # The last of equal flags counts: this one takes the place of that in `FLAGS`.
    return ("--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={path}")
