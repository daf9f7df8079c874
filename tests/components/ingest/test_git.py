"""One revision of a Git repository: without history, in time, and without a word of any credentials."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from dvc_repository import commit, git

from components.ingest.git import check_out
from components.ingest.git_address import TOKEN, USER
from glioscope.errors import ConfigError, InputError

SECRET = "hunter2-hunter2"


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """Three commits on main; the second is tagged v2 (annotated), the third only on main."""
    folder = tmp_path / "origin"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    for number in ("one", "two", "three"):
        (folder / "number").write_text(number)
        git(folder, "add", "--all")
        commit(folder, number)
        if number == "two":
            git(folder, "tag", "--annotate", "v2", "--message", "two")
    git(folder, "branch", "side/line", "main~2")
    return folder


def folder_for(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("revision", "content"), [("main", "three"), ("v2", "two"), ("side/line", "one"), ("", "three")]
)
def test_a_branch_or_tag_without_its_history(origin: Path, tmp_path: Path, revision: str, content: str) -> None:
    out = folder_for(tmp_path)
    found = check_out(str(origin), revision, out)
    assert (out / "number").read_text() == content
    assert found == git(origin, "rev-parse", f"{revision or 'main'}^{{commit}}")
    assert git(out, "rev-list", "--all", "--count", "HEAD") == "1"


def test_a_commit_without_its_history(origin: Path, tmp_path: Path) -> None:
    wanted = git(origin, "rev-parse", "main~1")
    out = folder_for(tmp_path)
    assert check_out(str(origin), wanted, out) == wanted
    assert (out / "number").read_text() == "two"
    assert git(out, "rev-list", "--count", "HEAD") == "1"


def test_a_server_that_gives_no_commit_by_name(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As protocol 0 has it: only the tips of branches and tags may be asked for."""
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "protocol.version")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "0")
    wanted = git(origin, "rev-parse", "main~2")
    git(origin, "branch", "--delete", "--force", "side/line")
    assert check_out(str(origin), wanted, folder_for(tmp_path)) == wanted
    assert "fetching all its history" in capfd.readouterr().err


def test_a_shortened_commit(origin: Path, tmp_path: Path) -> None:
    wanted = git(origin, "rev-parse", "main~1")
    assert check_out(str(origin), wanted[:8], folder_for(tmp_path)) == wanted


@pytest.mark.parametrize("revision", ["no-such-branch", "0" * 40, "abcdef12"])
def test_no_such_revision(origin: Path, tmp_path: Path, revision: str) -> None:
    with pytest.raises(InputError, match=f"has no branch, tag or commit {revision}") as error:
        check_out(str(origin), revision, folder_for(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "revision", ["--upload-pack=touch x", "-f", "a b", "main:refs/x", "+main", "a..b", "HEAD^", "a\0b"]
)
def test_what_is_no_revision(origin: Path, tmp_path: Path, revision: str) -> None:
    with pytest.raises(ConfigError, match="not the name of a branch"):
        check_out(str(origin), revision, folder_for(tmp_path))


@pytest.mark.parametrize("source", ["", "--upload-pack=touch x", "http://[broken", "a\nb"])
def test_what_is_no_repository_at_all(tmp_path: Path, source: str) -> None:
    with pytest.raises(ConfigError, match="not an address"):
        check_out(source, "main", folder_for(tmp_path))


def test_a_transport_that_runs_a_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be fetched"):
        check_out(f"ext::touch {tmp_path}/ran", "main", folder_for(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be fetched: .*Check the address"):
        check_out(str(tmp_path / "none"), "main", folder_for(tmp_path))


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(InputError, match=r"cannot be fetched: .*Check the address"):
        check_out(f"http://127.0.0.1:{port}/data.git", "main", folder_for(tmp_path))


def test_a_server_that_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git's helper for http is ended with it: it holds the pipe that is read from, and would be waited for."""
    monkeypatch.setenv("GLIOSCOPE_GIT_S", "1")
    out = folder_for(tmp_path)
    late = pytest.raises(InputError, match=r"Git did not end within 1 s.*GLIOSCOPE_GIT_S")
    with socket.create_server(("127.0.0.1", 0)) as server, late:
        check_out(f"http://127.0.0.1:{server.getsockname()[1]}/data.git", "main", out)


@pytest.mark.parametrize(
    "source",
    [
        f"https://doctor:{SECRET}@host.test/data.git",
        f"https://{SECRET}@host.test/data.git",
        f"ssh://git:{SECRET}@host.test/data.git",
        f"ssh://git:a/{SECRET}@host.test/data.git",
        f"https://doctor:a@{SECRET}@host.test/data.git",
        f"HTTPS://doctor:a/{SECRET}@host.test/data.git",
        f"http://doctor:{SECRET}@[broken",
        f"doctor:{SECRET}@host.test/data.git",
    ],
)
def test_credentials_in_the_address_are_refused_and_not_shown(tmp_path: Path, source: str) -> None:
    with pytest.raises(ConfigError, match="credentials in an address") as error:
        check_out(source, "main", folder_for(tmp_path))
    assert SECRET not in f"{error.value} {error.value.what} {error.value.where} {error.value.hint}"


def test_a_link_leads_nowhere(origin: Path, tmp_path: Path) -> None:
    (origin / "link").symlink_to("/etc")
    git(origin, "add", "--all")
    commit(origin, "link")
    out = folder_for(tmp_path)
    check_out(str(origin), "main", out)
    assert not (out / "link").is_symlink()


def test_a_repository_of_somebody_else(origin: Path, tmp_path: Path) -> None:
    """As a container sees what is mounted into it."""
    if os.geteuid():
        pytest.skip("needs to be root, to give the repository to somebody else")
    for file in (origin, *origin.rglob("*")):
        os.chown(file, 12345, 12345, follow_symlinks=False)
    out = folder_for(tmp_path)
    check_out(str(origin), "v2", out)
    assert (out / "number").read_text() == "two"


class _Private(BaseHTTPRequestHandler):
    """Git's own HTTP server behind a password."""

    root: str

    def do_GET(self) -> None:
        wanted = "Basic " + base64.b64encode(f"doctor:{SECRET}".encode()).decode()
        if self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="data"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        request = {
            "GIT_PROJECT_ROOT": self.root,
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": self.headers.get("Content-Length", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        done = subprocess.run(
            ["git", "http-backend"], input=sent, env=os.environ | request, capture_output=True, check=False
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        self.send_response(200)
        for line in head.decode().splitlines():
            self.send_header(*line.split(": ", 1))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Tests have enough to say."""


@pytest.fixture
def private(origin: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Private,), {"root": str(origin.parent)}))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/origin/.git"
    server.shutdown()
    server.server_close()


def test_a_private_repository(private: str, origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(USER, "doctor")
    monkeypatch.setenv(TOKEN, SECRET)
    out = folder_for(tmp_path)
    assert check_out(private, "v2", out) == git(origin, "rev-parse", "v2^{commit}")
    left = [file for file in out.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]
    assert not left


@pytest.mark.parametrize("token", [None, "wrong-wrong"])
def test_a_private_repository_and_no_right_to_it(
    private: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    if token:
        monkeypatch.setenv(USER, "doctor")
        monkeypatch.setenv(TOKEN, token)
    with pytest.raises(InputError, match=f"cannot be fetched: .*{TOKEN}") as error:
        check_out(private, "main", folder_for(tmp_path))
    assert "wrong-wrong" not in str(error.value)
