"""The front of module 7's server: every request is answered or refused with the reason, and none is lost.

The engine is a stand-in whose answers, delays and failures a test decides; the sockets are real.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from smol_course.inference import front

FRONT = Path(front.__file__)
GOOD = {"messages": [{"role": "user", "content": "dinner Friday"}], "max_tokens": 8}
CHAT = "/v1/chat/completions"


class Engine(httpx.AsyncBaseTransport):
    """Stands for an engine: remembers what it was asked, takes its time, and notices when it is dropped."""

    def __init__(
        self,
        seconds: float = 0.0,
        pieces: int = 3,
        breaks: bool = False,
        well: bool = True,
        refuses: bool = False,
    ) -> None:
        self.seconds, self.pieces, self.breaks = seconds, pieces, breaks
        self.well, self.refuses = well, refuses
        self.asked: list[dict[str, Any]] = []
        self.most = self.now = self.dropped = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self.well:
            raise httpx.ConnectError("nobody there")
        if request.url.path == "/health":
            return httpx.Response(200, json={"status": "ok"})
        chat = json.loads(await request.aread())
        self.asked.append(chat)
        if self.refuses:
            return httpx.Response(400, json={"error": {"message": "longer than the context"}})
        if chat["stream"]:
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=_Pieces(self))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.dropped += 1
            raise
        finally:
            self.now -= 1
        return httpx.Response(200, json={"choices": [{"message": {"content": "null"}}]})


class _Pieces(httpx.AsyncByteStream):
    def __init__(self, engine: Engine) -> None:
        self.engine, self.whole = engine, False

    async def __aiter__(self) -> Any:
        for number in range(self.engine.pieces):
            await asyncio.sleep(self.engine.seconds)
            yield f"data: {number}\n\n".encode()
        if self.engine.breaks:
            raise httpx.ReadError("the engine died")
        self.whole = True
        yield b"data: [DONE]\n\n"

    async def aclose(self) -> None:
        self.engine.dropped += not self.whole


@contextmanager
def serving(engine: Engine, **limits: Any) -> Iterator[httpx.Client]:
    """A client of the front, which listens on loopback; the server is gone at the end, whatever happened."""
    app = front.create("http://engine", front.Limits(**limits), transport=engine)
    with listening(app) as address, httpx.Client(base_url=address, timeout=20) as client:
        client.app = app  # type: ignore[attr-defined]
        yield client


@contextmanager
def listening(app: Any) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
    assert not thread.is_alive()


def wait_until(true: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def outcomes(client: httpx.Client) -> dict[str, int]:
    """How requests ended, as /metrics tells it."""
    lines = client.get("/metrics").text.splitlines()
    counted = [line for line in lines if line.startswith("front_requests_total")]
    return {line.split('"')[1]: int(float(line.split()[-1])) for line in counted}


def together(client: httpx.Client, times: int, body: dict[str, Any] = GOOD) -> list[httpx.Response]:
    """The same request several times at once."""

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=client.base_url, timeout=20) as session:
            return await asyncio.gather(*(session.post(CHAT, json=body) for _ in range(times)))

    return asyncio.run(ask())


# --- Answers ------------------------------------------------------------------------------------------------


def test_an_answer_is_passed_on() -> None:
    with serving(Engine()) as client:
        answer = client.post(CHAT, json=GOOD | {"model": "organiser", "temperature": 0})
        assert answer.status_code == 200
        assert answer.json()["choices"][0]["message"]["content"] == "null"
        assert outcomes(client) == {"answered": 1}


def test_the_engine_gets_limits_and_schema() -> None:
    engine = Engine()
    app = front.create("http://engine", front.Limits(new_tokens=9), {"type": "null"}, engine)
    with listening(app) as address:
        httpx.post(address + CHAT, json={"messages": GOOD["messages"]})
    (asked,) = engine.asked
    assert asked["max_tokens"] == 9 and "model" not in asked
    assert asked["response_format"]["json_schema"]["schema"] == {"type": "null"}


def test_no_more_than_allowed_work_at_once() -> None:
    engine = Engine(seconds=0.1)
    with serving(engine, at_once=2, waiting=10) as client:
        assert [answer.status_code for answer in together(client, 8)] == [200] * 8
    assert engine.most == 2


# --- Refusals -----------------------------------------------------------------------------------------------

BAD: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{not json", "not valid JSON"),
    "empty": (b"", "not valid JSON"),
    "not UTF-8": (b'{"messages": "\xff"}', "not valid JSON"),
    "half a character": (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "not valid JSON"),
    "deep": (b"[" * 20_000, "not valid JSON"),
    "a list": (b"[]", "valid dictionary"),
    "no messages": (b"{}", "messages: Field required"),
    "no message": (b'{"messages": []}', "at least 1"),
    "text for messages": (b'{"messages": "hello"}', "messages: Input should be a valid list"),
    "no role": (b'{"messages": [{"content": "x"}]}', "messages.0.role"),
    "odd role": (b'{"messages": [{"role": "root", "content": "x"}]}', "messages.0.role"),
    "content a number": (b'{"messages": [{"role": "user", "content": 5}]}', "messages.0.content"),
    "unknown field": (json.dumps(GOOD | {"n": 5}).encode(), "n: Extra inputs"),
    "hot": (json.dumps(GOOD | {"temperature": 9}).encode(), "temperature"),
    "not a number": (json.dumps(GOOD | {"temperature": float("nan")}).encode(), "temperature"),
    "no tokens": (json.dumps(GOOD | {"max_tokens": 0}).encode(), "max_tokens"),
    "huge number": (b'{"max_tokens": ' + b"9" * 5000 + b"}", "not valid JSON"),
    "too many tokens": (json.dumps(GOOD | {"max_tokens": 9999}).encode(), "at most 256"),
}


@pytest.fixture(scope="module")
def strict() -> Iterator[tuple[httpx.Client, Engine]]:
    engine = Engine()
    with serving(engine) as client:
        yield client, engine


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_with_the_reason(strict: tuple[httpx.Client, Engine], name: str) -> None:
    client, engine = strict
    body, reason = BAD[name]
    answer = client.post(CHAT, content=body)
    assert answer.status_code == 400 and reason in answer.json()["error"]["message"]
    assert engine.asked == [], "the engine was troubled with it"


@pytest.mark.parametrize("size", [40_000, 1_000_000])
def test_an_oversized_request_hears_so(strict: tuple[httpx.Client, Engine], size: int) -> None:
    client, engine = strict
    answer = client.post(CHAT, content=b"x" * size)
    assert answer.status_code == 413 and "longer than 32768 bytes" in answer.json()["error"]["message"]
    assert engine.asked == []


def test_what_does_not_exist(strict: tuple[httpx.Client, Engine]) -> None:
    assert strict[0].get(CHAT).status_code == 405 and strict[0].get("/reset").status_code == 404


def test_overload_is_refused_and_passes() -> None:
    with serving(Engine(seconds=0.3), at_once=1, waiting=2) as client:
        answers = together(client, 8)
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) == 5 and all(answer.headers["retry-after"] == "1" for answer in refused)
        assert sum(answer.status_code == 200 for answer in answers) == 3
        assert client.post(CHAT, json=GOOD).status_code == 200
        assert outcomes(client) == {"answered": 4, "overloaded": 5}


def test_late_is_said_and_the_work_ends() -> None:
    engine = Engine(seconds=5)
    with serving(engine, deadline=0.3, at_once=1) as client:
        answers = together(client, 2)  # the second one waits for the first until its own time is up
        assert [answer.status_code for answer in answers] == [504, 504]
        assert "within 0.3 seconds" in answers[0].json()["error"]["message"]
        assert engine.dropped == len(engine.asked) and client.app.state.front.gate.inside == 0


def test_a_dead_engine() -> None:
    engine = Engine(well=False)
    with serving(engine) as client:
        assert client.post(CHAT, json=GOOD).status_code == 502 and client.get("/health").status_code == 503
        engine.well = True
        assert client.post(CHAT, json=GOOD).status_code == 200 and client.get("/health").status_code == 200


def test_a_fault_of_the_front_itself_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(body: bytes, limits: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(front, "read_chat", fails)
    with serving(Engine()) as client:
        assert client.post(CHAT, json=GOOD).status_code == 500 and outcomes(client) == {"failed": 1}


# --- Clients that leave -------------------------------------------------------------------------------------


def leave(client: httpx.Client, body: dict[str, Any], after: float = 0.2) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(str(client.base_url).rstrip("/") + CHAT, json=body, timeout=after)


def test_nobody_works_for_a_client_that_left() -> None:
    engine = Engine(seconds=5)
    with serving(engine, at_once=1) as client:
        leave(client, GOOD)
        wait_until(lambda: outcomes(client) == {"gone": 1}, 3)
        assert engine.dropped == 1 and client.app.state.front.gate.inside == 0


def test_a_client_that_left_does_not_wait_in_line() -> None:
    engine = Engine(seconds=1.5)
    with serving(engine, at_once=1, waiting=1) as client:
        worker = threading.Thread(target=client.post, args=(CHAT,), kwargs={"json": GOOD})
        worker.start()
        wait_until(lambda: engine.now == 1)
        leave(client, GOOD)
        wait_until(lambda: client.app.state.front.gate.inside == 1, 1)
        worker.join()
    assert len(engine.asked) == 1


# --- Streams ------------------------------------------------------------------------------------------------

STREAM = GOOD | {"stream": True}


def test_a_stream_is_passed_on_as_it_comes() -> None:
    with serving(Engine(seconds=0.1)) as client, client.stream("POST", CHAT, json=STREAM) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        begun, pieces = time.monotonic(), []
        for piece in answer.iter_text():
            pieces.append((piece, time.monotonic() - begun))
        assert "".join(piece for piece, _ in pieces).endswith("data: 2\n\ndata: [DONE]\n\n")
        assert pieces[-1][1] - pieces[0][1] > 0.1, "it came in one piece"


@pytest.mark.parametrize(
    ("engine", "outcome"), [(Engine(breaks=True), "engine"), (Engine(seconds=0.25, pieces=9), "late")]
)
def test_a_stream_that_breaks_off_says_so(engine: Engine, outcome: str) -> None:
    with serving(engine, deadline=0.6) as client:
        answer = client.post(CHAT, json=STREAM)
        last = json.loads(answer.text.strip().split("\n\n")[-1].removeprefix("data: "))
        assert last["error"]["code"] == outcome and "[DONE]" not in answer.text
        wait_until(lambda: outcomes(client) == {outcome: 1})
        assert engine.dropped == 1


@pytest.mark.parametrize("body", [GOOD, STREAM])
def test_the_engines_own_refusal_is_passed_on(body: dict[str, Any]) -> None:
    with serving(Engine(refuses=True)) as client:
        answer = client.post(CHAT, json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["message"] == "longer than the context"
        assert outcomes(client) == {"refused_by_engine": 1}


def test_a_stream_ends_with_its_client() -> None:
    engine = Engine(seconds=0.2, pieces=50)
    with serving(engine) as client:
        with client.stream("POST", CHAT, json=STREAM) as answer:
            next(answer.iter_text())
        wait_until(lambda: engine.dropped == 1, 3)
        wait_until(lambda: outcomes(client) == {"gone": 1}, 3)
        assert client.app.state.front.gate.inside == 0


# --- A whole load, and the end ------------------------------------------------------------------------------


def test_every_request_of_a_mixed_load_is_accounted_for() -> None:
    bodies = [GOOD, STREAM, {"messages": []}, GOOD | {"max_tokens": 9999}] * 25

    async def ask(many: httpx.AsyncClient, number: int) -> int:
        with suppress(httpx.TimeoutException):
            timeout = 0.02 if number % 10 == 0 else 20
            return (await many.post(CHAT, json=bodies[number], timeout=timeout)).status_code
        return 0

    with serving(Engine(seconds=0.05), at_once=4, waiting=20) as client:

        async def load() -> list[int]:
            async with httpx.AsyncClient(base_url=client.base_url) as session:
                return await asyncio.gather(*(ask(session, number) for number in range(len(bodies))))

        answers = asyncio.run(load())
        wait_until(lambda: client.app.state.front.gate.inside == 0)
        counted = outcomes(client)
    assert set(answers) <= {0, 200, 400, 429}
    # A client that leaves before its request was read is known to nobody but itself.
    assert len(bodies) - answers.count(0) <= sum(counted.values()) <= len(bodies)
    assert counted["answered"] >= answers.count(200) and counted.get("overloaded", 0) >= answers.count(429)
    assert not {"failed", "engine", "late"} & set(counted)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a process can catch")
def test_a_stop_lets_answers_finish() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await asyncio.sleep(1.5 if scope["path"] == CHAT else 0)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    with listening(slow) as engine, free_port() as port:
        command = [sys.executable, str(FRONT), "--engine", engine, "--port", str(port)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            here = f"http://127.0.0.1:{port}"
            wait_until(lambda: _well(here), 30)
            statuses: list[int] = []
            work = threading.Thread(
                target=lambda: statuses.append(httpx.post(here + CHAT, json=GOOD, timeout=20).status_code)
            )
            work.start()
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: not _well(here), 5)  # no new ones
            work.join(10)
            assert statuses == [200]
            process.wait(10)
        finally:
            process.kill()
            process.wait()


def test_the_file_alone_starts_as_the_image_starts_it(tmp_path: Path) -> None:
    """The Dockerfile copies this one file; nothing else of the course is there."""
    steps = FRONT.with_name("Dockerfile").read_text(encoding="utf-8").splitlines()
    assert [step for step in steps if step.startswith(("COPY", "ADD"))] == ["COPY front.py /front.py"]
    (tmp_path / "front.py").write_bytes(FRONT.read_bytes())
    # None in sys.modules: an import of the package fails, wherever it is installed.
    alone = "import runpy, sys; sys.modules['smol_course'] = None; runpy.run_path('front.py', run_name='__main__')"
    with serving(Engine()) as engine, free_port() as port:
        command = [sys.executable, "-I", "-c", alone, "--engine", str(engine.base_url), "--port", str(port)]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            here = f"http://127.0.0.1:{port}"
            wait_until(lambda: process.poll() is not None or _well(here), 30)
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert httpx.post(here + CHAT, json=GOOD, timeout=20).status_code == 200
        finally:
            process.kill()
            process.communicate()


@contextmanager
def free_port() -> Iterator[int]:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    yield port


def _well(address: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(address + "/health", timeout=2).status_code == 200
    return False
