"""Downloads against a local server that misbehaves: the right file or none, never a wrong one."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner
from filelock import FileLock

from repro.cli.main import cli
from repro.data.files.download import MirrorError, Patience, RemoteFile, download
from repro.data.mini_imagenet import mirrors
from repro.data.mini_imagenet.mirrors import Mirror, fetch, hugging_face, zenodo
from repro.system.errors import DataError, StorageError

CONTENT = bytes(range(256)) * 4000  # about 1 MB
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(timeout_s=0.5, tries=3, pause_s=0.01)
CALM = Patience(timeout_s=20, tries=3, pause_s=0.01)  # where a slow machine is not the point


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 32

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.behaviour: dict[str, str] = {}
        self.drops = 0

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        pass  # clients that give up are the point of these tests


class Handler(BaseHTTPRequestHandler):
    server: Server
    statuses: ClassVar[dict[str, int]] = {"missing": 404, "busy": 503}

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        asked = self.headers.get("Range")
        self.server.requests.append((path, asked))
        kind = self.server.behaviour.get(path, "ranges")
        if path not in self.server.files or kind in self.statuses:
            self.send_error(self.statuses.get(kind, 404))
            return
        content = self.server.files[path]
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if kind == "no ranges" or kind == "drops, no ranges":
            first = 0
        if first >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Type", "text/html" if kind == "html" else "application/x")
        self.send_header("Content-Length", str(len(content) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        body = content[first:]
        if kind.startswith("drops") and self.server.drops:
            self.server.drops -= 1
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        elif kind == "stalls":
            self.wfile.write(body[:1000])
            self.wfile.flush()
            time.sleep(2)
        elif kind == "trickles":
            for place in range(0, 40):
                self.wfile.write(body[place : place + 1])
                time.sleep(0.05)
        else:
            self.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    running.files["/data.bin"] = CONTENT
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def get(
    server: Server, folder: Path, size: int | None = None, checksum: str = SHA256,
    patience: Patience = CALM,
) -> Path:  # fmt: skip
    shown: list[tuple[int, int]] = []
    file = RemoteFile("data.bin", f"{server.base}/data.bin", checksum, size)
    found = download(file, folder, lambda done, total: shown.append((done, total)), patience)
    if "no ranges" not in server.behaviour.get("/data.bin", ""):
        assert shown == sorted(shown)
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert get(server, tmp_path, len(CONTENT)).read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert names(tmp_path) == ["data.bin"]
    md5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
    assert get(server, tmp_path, checksum=md5) == tmp_path / "data.bin"


def test_a_dropped_connection_is_gone_on_with_where_it_stopped(
    server: Server, tmp_path: Path
) -> None:
    server.behaviour["/data.bin"], server.drops = "drops", 4
    assert get(server, tmp_path).read_bytes() == CONTENT
    starts = [int((asked or "bytes=0-")[6:-1]) for _, asked in server.requests]
    assert len(starts) == 5
    assert starts == sorted(set(starts))  # every attempt went on beyond the one before
    assert starts[-1] == len(CONTENT) - len(CONTENT) // 16


def test_a_server_without_ranges_is_begun_again_and_given_up_when_it_never_gets_further(
    server: Server, tmp_path: Path
) -> None:
    server.behaviour["/data.bin"], server.drops = "drops, no ranges", 2
    assert get(server, tmp_path).read_bytes() == CONTENT
    (tmp_path / "data.bin").unlink()
    server.drops = 10**6
    with pytest.raises(MirrorError, match="closed early"):
        get(server, tmp_path)
    (left,) = names(tmp_path)
    assert left.startswith("data.bin.")
    assert left.endswith(".part")


def test_an_interrupted_download_keeps_its_part_and_the_next_run_goes_on(
    server: Server, tmp_path: Path
) -> None:
    def stop(done: int, _: int) -> None:
        if done > len(CONTENT) // 4:
            raise KeyboardInterrupt

    file = RemoteFile("data.bin", f"{server.base}/data.bin", SHA256)
    with pytest.raises(KeyboardInterrupt):
        download(file, tmp_path, stop, CALM)
    (part,) = names(tmp_path)
    have = (tmp_path / part).stat().st_size
    assert len(CONTENT) // 4 < have < len(CONTENT)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == ("/data.bin", f"bytes={have}-")
    assert names(tmp_path) == ["data.bin"]


def test_a_part_that_is_already_whole_or_too_long_is_sorted_out(
    server: Server, tmp_path: Path
) -> None:
    part = tmp_path / f"data.bin.{SHA256[7:15]}.part"
    part.write_bytes(CONTENT)
    assert get(server, tmp_path).read_bytes() == CONTENT  # the server answered 416
    (tmp_path / "data.bin").unlink()
    part.write_bytes(CONTENT + b"more")
    assert get(server, tmp_path, len(CONTENT)).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("kind", "content", "size", "said"),
    [
        ("html", b"<p>Sign in", None, "a web page instead of the file"),
        ("ranges", b"\n<!DOCTYPE html><html>Quota exceeded", None, "a web page instead"),
        ("ranges", CONTENT[::-1], None, "gave another file: it does not have the published sha"),
        ("ranges", CONTENT[:-5], len(CONTENT), "bytes instead of 1,024,000"),
        ("missing", b"", None, "answers 404"),
        ("busy", b"", None, "does not answer properly .*503"),
        ("stalls", CONTENT, None, "does not answer properly .*timed out"),
        ("trickles", CONTENT, None, r"does not answer properly \(\d+ bytes in"),
    ],
)
def test_what_is_not_the_file_never_gets_its_name(
    server: Server, tmp_path: Path, kind: str, content: bytes, size: int | None, said: str
) -> None:
    server.files["/data.bin"], server.behaviour["/data.bin"] = content, kind
    patience = QUICK if kind in ("stalls", "trickles") else CALM
    with pytest.raises(MirrorError, match=said):
        get(server, tmp_path, size, patience=patience)
    assert "data.bin" not in names(tmp_path)
    # What was left does not spoil the next run, once the server is well.
    server.files["/data.bin"], server.behaviour["/data.bin"] = CONTENT, "ranges"
    assert get(server, tmp_path, size).read_bytes() == CONTENT


def test_a_wrong_file_of_the_name_is_replaced_only_by_the_right_one(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "data.bin").write_text("<html>")
    server.behaviour["/data.bin"] = "missing"
    with pytest.raises(MirrorError):
        get(server, tmp_path)
    assert (tmp_path / "data.bin").read_text() == "<html>"
    del server.behaviour["/data.bin"]
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_two_processes_do_not_write_one_file(server: Server, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".data.bin.lock"), pytest.raises(DataError, match="another process"):
        get(server, tmp_path)


def test_a_server_that_is_not_there_and_a_folder_that_cannot_be(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x"
        with pytest.raises(MirrorError, match="refused"):
            download(RemoteFile("x", url, SHA256), tmp_path, lambda *_: None, QUICK)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        download(RemoteFile("x", url, SHA256), tmp_path / "file", lambda *_: None, QUICK)


def publish(server: Server) -> tuple[Mirror, Mirror]:
    """Both kinds of keepers' listings, as their interfaces answer, with small files."""
    kept = []
    for split in ("train", "validation", "test"):
        name, content = f"mini-imagenet-cache-{split}.pkl", split.encode() * 50
        server.files[f"/records/1/files/{name}"] = content
        checksum = "md5:" + hashlib.md5(content).hexdigest()
        kept.append({"key": name, "size": len(content), "checksum": checksum})
    kept.append({"key": "../../evil.pkl", "size": 1, "checksum": "md5:" + "0" * 32})
    server.files["/api/records/1"] = json.dumps({"files": kept}).encode()
    listed: list[dict[str, object]] = [{"type": "file", "path": "README.md", "size": 3}]
    for split in ("train", "validation", "test"):
        path, content = f"data/{split}-00000-of-00001-0a1b.parquet", split.encode() * 60
        server.files[f"/datasets/a/b/resolve/main/{path}"] = content
        stored = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
        listed.append({"type": "file", "path": path, "size": len(content), "lfs": stored})
    server.files["/api/datasets/a/b/tree/main/data"] = json.dumps(listed).encode()
    return (
        Mirror("zenodo", "", zenodo("1", server.base)),
        Mirror("hub", "", hugging_face("a/b", server.base)),
    )


def test_mirrors_are_tried_in_turn_and_each_failure_is_said(server: Server, tmp_path: Path) -> None:
    both, told = publish(server), list[str]()
    place = fetch(tmp_path, both, lambda *_: None, told.append, CALM)
    assert (place, told) == (tmp_path / "zenodo", [])
    assert names(place) == [f"mini-imagenet-cache-{s}.pkl" for s in ("test", "train", "validation")]
    server.files["/records/1/files/mini-imagenet-cache-test.pkl"] = b"test" * 49 + b"tset"
    place = fetch(tmp_path / "again", both, lambda *_: None, told.append, CALM)
    assert place == tmp_path / "again/hub"
    assert len(names(place)) == 3
    (failure,) = told
    assert failure.startswith("zenodo: ")
    assert "another file" in failure


@pytest.mark.parametrize(
    "listing", [b"<html>", b"[]", b'{"files": 3}', b'{"files": []}', b"{}", b'{"files": [{}]}',
                b'{"files": [{"key": "mini-imagenet-cache-test.pkl", "size": 1}]}',
                b'{"files": [{"key": "mini-imagenet-cache-test.pkl", "size": 1, "checksum": ""}]}'],
)  # fmt: skip
def test_a_listing_that_is_none_or_names_no_checksum_is_a_failed_mirror(
    server: Server, tmp_path: Path, listing: bytes
) -> None:
    mirror, _ = publish(server)
    server.files["/api/records/1"] = listing
    with pytest.raises(DataError, match=r"no mirror gave the files .*the list of files at"):
        fetch(tmp_path, [mirror], lambda *_: None, lambda _: None, CALM)
    assert not list(tmp_path.rglob("*.pkl"))


def test_the_command_shows_the_terms_and_asks_for_agreement(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mirrors, "MIRRORS", publish(server))
    run = CliRunner().invoke
    refused = run(cli, ["data", "fetch", "mini-imagenet"])
    assert refused.exit_code == 2
    assert "non-commercial research" in refused.output
    assert "--accept-terms" in refused.output
    assert server.requests == []
    done = run(cli, ["data", "fetch", "mini-imagenet", "--accept-terms"])
    assert done.exit_code == 0, done.output
    assert "repro data prepare mini-imagenet --data mini-imagenet/zenodo" in done.output
    server.files.clear()
    failed = run(cli, ["data", "fetch", "mini-imagenet", "--accept-terms", "--output", "x"])
    assert failed.exit_code == 1
    assert "no mirror gave the files" in failed.output
    for words in (["glyphs"], ["mini-imagenet", "--mirror", "zenod", "--accept-terms"]):
        wrong = run(cli, ["data", "fetch", *words])
        assert wrong.exit_code == 2
        assert "unknown" in wrong.output


def test_ctrl_c_says_that_the_download_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_: Patience) -> list[RemoteFile]:
        raise KeyboardInterrupt

    monkeypatch.setattr(mirrors, "MIRRORS", (Mirror("slow", "", stopped),))
    words = ["data", "fetch", "mini-imagenet", "--accept-terms", "--output", str(tmp_path)]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 130
    assert "run the same command to continue" in done.output


def test_the_named_mirrors_have_keepers_and_their_files_checksums() -> None:
    assert [mirror.name for mirror in mirrors.MIRRORS] == ["zenodo", "archive", "hugging-face"]
    (archive,) = mirrors.MIRRORS[1].files(QUICK)
    assert archive.checksum.startswith("sha256:30052347dd33f3ea")
