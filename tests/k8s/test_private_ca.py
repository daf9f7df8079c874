"""An S3 store whose certificate is of a private authority, once k8s/private-ca has put that into the image."""

from __future__ import annotations

import contextlib
import functools
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from manifests import K8S
from serving_image import HARDENED, build, docker
from small_model import write_model

from glioscope.errors import ConfigError
from serving.archive import archive
from serving.mar import read_mar
from serving.ports import free_ports, require_free
from serving.shelf import Current

pytestmark = pytest.mark.slow
IMAGE = "glioscope-serving:test-ca"


def openssl(folder: Path, *arguments: str) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, which makes the certificates")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address of an HTTPS server with a deployed archive, as S3 would answer, and its name; the image trusts it."""
    folder = tmp_path_factory.mktemp("store")
    openssl(folder, "-subj", "/CN=ours", "-keyout", "ca.key", "-out", "ca.pem")
    server = ("-subj", "/CN=store", "-keyout", "store.key", "-out", "store.pem", "-CA", "ca.pem", "-CAkey", "ca.key")
    openssl(folder, *server, "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE")

    archives = folder / "served" / "bucket" / "archives"
    archive(write_model(folder / "model"), folder / "new.mar")
    mar = read_mar(folder / "new.mar")
    mar.copy_to(archives / mar.stored_name("glioscope"))
    (archives / "current.json").write_text(Current.of(mar, "glioscope").model_dump_json())

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "store.pem", folder / "store.key")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        trusting(folder / "ca.pem")
        yield f"https://127.0.0.1:{listening.server_port}", mar.stored_name("glioscope")
        listening.shutdown()


def trusting(authority: Path) -> None:
    """Build the image that the README says how to build."""
    options = (f"--build-arg=IMAGE={build()}", f"--tag={IMAGE}")
    docker("build", "--file", str(K8S / "private-ca" / "Dockerfile"), *options, str(authority.parent))


def fetch(image: str, url: str) -> str:
    keys = ("--env=AWS_ACCESS_KEY_ID=a", "--env=AWS_SECRET_ACCESS_KEY=b", "--env=AWS_DEFAULT_REGION=us-east-1")
    options = (*HARDENED, *keys, f"--env=AWS_ENDPOINT_URL={url}", "--network=host", "--entrypoint=python")
    program = ("-m", "serving.fetch", "s3://bucket/archives", "--out", "/tmp/fetched.mar")
    return docker("run", "--rm", *options, image, *program, check=False)


def test_the_fetch_takes_the_archive_and_without_it_says_why_not(store: tuple[str, str]) -> None:
    assert "MB" in fetch(IMAGE, store[0])
    assert "CERTIFICATE_VERIFY_FAILED" in fetch(build(), store[0])


def test_torchserve_downloads_the_archive(store: tuple[str, str]) -> None:
    url, name = store
    port = three_ports()
    options = (*HARDENED, "--tmpfs=/models:uid=10001", "--network=host")
    given = (
        f"--port={port}",
        "--host=127.0.0.1",
        "--metrics-host=127.0.0.1",
        f"--archives-from={url}/bucket/archives/",
    )
    server = docker("run", "--detach", *options, IMAGE, *given)
    try:
        management = f"http://127.0.0.1:{port + 1}/models"
        wait(management, server)
        asked = {"url": f"{url}/bucket/archives/{name}", "model_name": "glioscope", "initial_workers": "0"}
        answer = requests.post(management, params=asked, timeout=60)
        assert answer.ok, answer.text
        assert [one["modelName"] for one in requests.get(management, timeout=10).json()["models"]] == ["glioscope"]
    finally:
        docker("rm", "--force", server)


def three_ports() -> int:
    """The first of three in a row that are free."""
    for first in free_ports(50):
        with contextlib.suppress(ConfigError):
            require_free(("127.0.0.1", first + step) for step in range(3))
            return first
    return pytest.fail("no three free ports in a row")


def wait(url: str, container: str) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until and docker("inspect", "-f", "{{.State.Running}}", container) == "true":
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.5)
    pytest.fail(f"management does not answer\n{docker('logs', '--tail', '40', container)}")
