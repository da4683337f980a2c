from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bbq_rows import dump, quartet, write
from snipbias.base.errors import SnipbiasError
from snipbias.base.hub import cache_dir
from snipbias.tasks import fetch, task

ROWS = quartet([("mystery", "unknown"), ("x", "Muslim"), ("y", "Lutheran")], ["Muslim"])
CONTENT = dump(ROWS).encode()
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Upstream:
    """A local stand-in for the server: what it sends, and what it was asked for."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.status = 200
        self.short = False
        self.asked: list[str] = []


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Upstream]:
    state = Upstream()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(state.content) + 10 * state.short))
            self.end_headers()
            self.wfile.write(state.content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    for name in ("HF_HUB_OFFLINE", "SNIPBIAS_OFFLINE", "SNIPBIAS_DATA_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SNIPBIAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(fetch.OFFICIAL, "Religion", (4, DIGEST))
    monkeypatch.setitem(fetch.OFFICIAL, "Race_x_SES", (4, None))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    monkeypatch.setattr(fetch, "BASE_URL", f"http://127.0.0.1:{server.server_port}/data")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def cached(tmp_path: Path) -> list[str]:
    folder = tmp_path / "cache" / "bbq"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_downloads_once_and_then_reads_the_cache(upstream: Upstream, tmp_path: Path) -> None:
    first = task("bbq:religion")
    assert upstream.asked == ["/data/Religion.jsonl"]
    assert cached(tmp_path) == ["Religion.jsonl"]
    assert first.source.endswith(f"sha256 {DIGEST}: the official file")
    assert task("bbq:religion").items == first.items
    assert len(upstream.asked) == 1


def test_what_is_not_the_official_file_never_reaches_the_cache(
    upstream: Upstream, tmp_path: Path
) -> None:
    upstream.content = CONTENT.replace(b"rain", b"snow")
    with pytest.raises(SnipbiasError, match=r"the official file \(its sha256 is [0-9a-f]+"):
        task("bbq:religion")
    assert cached(tmp_path) == []


def test_without_a_known_sha256_the_rows_are_counted(upstream: Upstream, tmp_path: Path) -> None:
    assert "sha256 snipbias does not know" in task("bbq:race_x_ses").source
    (tmp_path / "cache" / "bbq" / "Race_x_SES.jsonl").unlink()
    upstream.content = dump(ROWS[:3]).encode()
    with pytest.raises(SnipbiasError, match="it has 3 rows instead of 4"):
        task("bbq:race_x_ses")
    assert cached(tmp_path) == []


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "SNIPBIAS_OFFLINE"])
def test_offline_asks_nobody(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(SnipbiasError) as error:
        task("bbq:religion")
    assert f"({variable} is set)" in str(error.value)
    assert f"save it as {tmp_path / 'cache' / 'bbq' / 'Religion.jsonl'}" in str(error.value)
    assert upstream.asked == []


def test_a_failing_server_is_one_sentence(upstream: Upstream, tmp_path: Path) -> None:
    upstream.status = 404
    with pytest.raises(SnipbiasError, match=r"was not downloaded \(Not Found\): get http"):
        task("bbq:religion")
    upstream.status, upstream.short = 200, True
    with pytest.raises(SnipbiasError, match=r"was not downloaded \(IncompleteRead"):
        task("bbq:religion")
    assert cached(tmp_path) == []


def test_no_server_is_one_sentence(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "BASE_URL", "http://127.0.0.1:9/data")
    with pytest.raises(SnipbiasError, match=r"was not downloaded \(.*refused"):
        task("bbq:religion")


def test_a_changed_file_in_the_cache_is_refused(upstream: Upstream, tmp_path: Path) -> None:
    write(tmp_path / "cache" / "bbq" / "Religion.jsonl", ROWS[:2])
    with pytest.raises(SnipbiasError, match=r"Religion\.jsonl is not the official file"):
        task("bbq:religion")


@pytest.mark.parametrize("place", ["Religion.jsonl", "bbq/Religion.jsonl"])
def test_the_users_folder_comes_first_and_may_hold_another_version(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    task("bbq:religion")  # now in the cache
    write(tmp_path / "mine" / place, ROWS[:2])
    loaded = task("bbq:religion", data_dir=tmp_path / "mine")
    assert len(loaded) == 2
    assert loaded.source.endswith("not the official file")
    assert hashlib.sha256(dump(ROWS[:2]).encode()).hexdigest() in loaded.source

    monkeypatch.setenv("SNIPBIAS_DATA_DIR", str(tmp_path / "mine"))
    assert len(task("bbq:religion")) == 2
    (tmp_path / "other").mkdir()
    assert len(task("bbq:religion", data_dir=tmp_path / "other")) == 2  # then the variable's
    monkeypatch.delenv("SNIPBIAS_DATA_DIR")
    assert len(task("bbq:religion", data_dir=tmp_path / "other")) == 4  # then the cache


def test_a_data_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SnipbiasError, match="nowhere does not exist: correct data_dir"):
        task("bbq:SES", data_dir=tmp_path / "nowhere")


def test_a_cache_that_cannot_be_written_is_one_sentence(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SNIPBIAS_CACHE", str(tmp_path / "file"))
    with pytest.raises(SnipbiasError, match="could not write"):
        task("bbq:religion")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SNIPBIAS_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == Path.home() / ".cache" / "snipbias"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "snipbias"
    monkeypatch.setenv("SNIPBIAS_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"
