"""A folder of pictures behind nginx on loopback: the server that we and the peers are given."""

import io
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

MOTIFS = 32
"""Different pictures; the others are these with another comment: no two have equal bytes."""
SEED = 7
FADING = 1.2
"""How much fainter each finer octave is: 640x480 then come to 50 KB at a quality of 80."""
START_S = 10.0
CONFIGURATION = """
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    types {{ image/jpeg jpg; }}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {folder}/files; }}
}}
"""


class NoServerError(Exception):
    """Why there is none."""


@contextmanager
def served(count: int, of_bytes: int, width: int, height: int) -> Iterator[list[str]]:
    """The URLs of `count` JPEGs, of about as many bytes each, while nginx serves them.

    Raises `NoServerError` where nginx is not installed or does not start.
    """
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if nginx is None:
        raise NoServerError("nginx is not installed: apt-get install nginx-light")
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        _draw(folder / "files", count, of_bytes, width, height)
        port = _free_port()
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            CONFIGURATION.format(folder=folder, port=port, user=user)
        )
        command = [nginx, "-c", str(folder / "nginx.conf"), "-p", name, "-e", "stderr"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                _wait_for(port, process)
                yield [f"http://127.0.0.1:{port}/{number}.jpg" for number in range(count)]
            finally:
                process.terminate()


def _draw(folder: Path, count: int, of_bytes: int, width: int, height: int) -> None:
    folder.mkdir()
    draw = np.random.default_rng(SEED)
    motifs = [_motif(draw, width, height) for _ in range(min(MOTIFS, count))]
    quality = _quality(motifs[0], of_bytes)
    jpegs = [_jpeg(motif, quality) for motif in motifs]
    for number in range(count):
        jpeg = jpegs[number % len(jpegs)]
        (folder / f"{number}.jpg").write_bytes(_commented(jpeg, f"{number}".encode()))


def _motif(draw: np.random.Generator, width: int, height: int) -> Image.Image:
    """Clouds: large patches and ever finer ones upon them, as in photographs."""
    mixed = np.zeros((height, width, 3))
    for octave in range(2, 10):
        coarse = draw.integers(0, 256, (2**octave * 3 // 4 + 1, 2**octave, 3), dtype=np.uint8)
        fine = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        mixed += np.asarray(fine, dtype=np.float64) / FADING**octave
    return Image.fromarray((mixed / np.max(mixed) * 255).astype(np.uint8))


def _quality(picture: Image.Image, of_bytes: int) -> int:
    """The JPEG quality that comes nearest to a size."""
    return min(range(5, 96, 3), key=lambda quality: abs(len(_jpeg(picture, quality)) - of_bytes))


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _commented(jpeg: bytes, comment: bytes) -> bytes:
    """The same picture with a comment behind its first marker."""
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    return jpeg[:2] + segment + jpeg[2:]


def _free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def _wait_for(port: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            assert process.stderr is not None
            raise NoServerError(f"nginx ended at once: {process.stderr.read()}")
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise NoServerError(f"nginx does not listen on port {port} after {START_S:.0f} s")
