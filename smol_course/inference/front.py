"""A front for an engine's OpenAI-compatible server: every request is answered, or refused with the reason.

The engine (llama.cpp, `transformers serve`, vLLM) does the work. The front adds what such servers leave open:
limits on the size of a request and on how many wait, a deadline, work that ends when its client has gone,
health, metrics, and a stop that lets answers finish. It knows no model, keeps no text, and trusts whoever can
reach it: put TLS and passwords before it.

    python front.py --model organiser.gguf            # llama.cpp inside, on http://127.0.0.1:8000
    python front.py --engine http://127.0.0.1:8080    # an engine that runs elsewhere
"""

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError
from starlette.requests import ClientDisconnect, Request

_SECONDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60)
# A body beyond the limit is read on, up to so many times the limit: its sender shall get to hear the refusal.
_READ_ON = 64


@dataclass(frozen=True)
class Limits:
    """What the front lets pass; sizes in bytes and tokens, times in seconds."""

    at_once: int = 4
    waiting: int = 12
    deadline: float = 30.0
    body_bytes: int = 32_768
    new_tokens: int = 256


class Message(BaseModel):
    """One message of a conversation, as the front lets it pass."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "user", "assistant"]
    content: StrictStr


class Chat(BaseModel):
    """What a request may contain. An unknown field is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")
    messages: Annotated[list[Message], Field(min_length=1, max_length=64)]
    model: StrictStr | None = None
    max_tokens: Annotated[int, Field(ge=1, strict=True)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, strict=True)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    stop: Annotated[list[StrictStr], Field(max_length=4)] | StrictStr | None = None
    stream: StrictBool = False


class Refused(Exception):
    """A request that is not answered: its HTTP status, a short code, and the reason for its sender."""

    def __init__(self, status: int, code: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.code, self.reason = status, code, reason


class Gone(Exception):
    """The client has closed the connection: nobody waits for the answer."""


class Gate:
    """Lets some requests in at once, lets some wait, and refuses the next."""

    def __init__(self, limits: Limits) -> None:
        self._free = asyncio.Semaphore(limits.at_once)
        self._most = limits.at_once + limits.waiting
        self.inside = 0

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        """Hold a place; wait for it if need be. Raises Refused (429) when too many wait already."""
        if self.inside >= self._most:
            raise Refused(429, "overloaded", "Too many requests are waiting: try again in a second.")
        self.inside += 1
        try:
            async with self._free:
                yield
        finally:
            self.inside -= 1


class Meter:
    """What /metrics shows, in Prometheus' format."""

    def __init__(self, gate: Gate) -> None:
        self.registry = CollectorRegistry()
        self.ended = Counter("front_requests", "Requests by how they ended", ["outcome"], registry=self.registry)
        self.seconds = Histogram("front_seconds", "Seconds to an answer", buckets=_SECONDS, registry=self.registry)
        Gauge("front_inside", "Requests that run or wait", registry=self.registry).set_function(lambda: gate.inside)


# --- Reading a request --------------------------------------------------------------------------------------


async def read_body(request: Request, most: int) -> bytes:
    """Return the body. Raises Refused (413) if it is longer than ``most`` bytes, Gone if its sender left."""
    size, parts = 0, []
    try:
        async for part in request.stream():
            size += len(part)
            if size <= most:
                parts.append(part)
            elif size > _READ_ON * most:
                break
    except ClientDisconnect as error:
        raise Gone from error
    if size > most:
        raise Refused(413, "too_large", f"The request is longer than {most} bytes.")
    return b"".join(parts)


def read_chat(body: bytes, limits: Limits) -> dict[str, Any]:
    """Return what goes to the engine. Raises Refused (400), naming the first thing that is wrong."""
    try:
        body.decode()
        chat = Chat.model_validate(json.loads(body))
        chat.model_dump_json()  # fails for half a character, which no engine takes
    except (ValueError, RecursionError) as error:  # pydantic's errors are ValueErrors too
        raise Refused(400, "malformed", _first_fault(error)) from error
    wanted = chat.max_completion_tokens or chat.max_tokens or limits.new_tokens
    if wanted > limits.new_tokens:
        reason = f"max_tokens is {wanted}; this server writes at most {limits.new_tokens}."
        raise Refused(400, "too_long", reason)
    passed_on = chat.model_dump(exclude_none=True, exclude={"model", "max_completion_tokens"})
    return passed_on | {"max_tokens": wanted}


def _first_fault(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        return f"{place or 'The request'}: {fault['msg']}."
    return "The body is not valid JSON."


# --- Asking the engine --------------------------------------------------------------------------------------


async def unless_gone(request: Request, work: Awaitable[httpx.Response]) -> httpx.Response:
    """Await the work, but end it when the client closes the connection. Raises Gone then."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Gone
        return task.result()
    finally:
        for unfinished in (task, gone):
            unfinished.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Relay:
    """Passes a streamed answer on as it comes; ``ended`` says how it ended ("gone" until more is known)."""

    def __init__(self, answer: httpx.Response, until: float) -> None:
        self.ended, self._chunks, self._until = "gone", answer.aiter_raw(), until

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while True:
                async with asyncio.timeout_at(self._until):
                    chunk = await anext(self._chunks)
                yield chunk
        except StopAsyncIteration:
            self.ended = "answered"
        except (TimeoutError, httpx.HTTPError) as error:
            self.ended = "late" if isinstance(error, TimeoutError) else "engine"
            broken = json.dumps(_error(self.ended, "The answer breaks off here."))
            yield f"data: {broken}\n\n".encode()


def _error(code: str, reason: str) -> dict[str, Any]:
    """An error in the form that OpenAI's clients understand."""
    return {"error": {"message": reason, "type": code, "code": code}}


# --- The server ---------------------------------------------------------------------------------------------


class Front:
    """The handler of /v1/chat/completions.

    All of a request's life is inside one call, so whatever ends it, its place at the gate is free again.
    """

    def __init__(self, engine: httpx.AsyncClient, limits: Limits, schema: dict[str, Any] | None) -> None:
        self.engine, self.limits = engine, limits
        # The server's own schema. One that a client sends could be made to cost the engine a lot.
        of_schema = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        }
        self.always = {"response_format": of_schema} if schema else {}
        self.gate = Gate(limits)
        self.meter = Meter(self.gate)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer or refuse one request, and count how it ended."""
        request, begun = Request(scope, receive), time.perf_counter()
        until = asyncio.get_running_loop().time() + self.limits.deadline
        try:
            outcome = await self._answered(request, until, send)
        except Refused as refused:
            outcome, again = refused.code, {"Retry-After": "1"} if refused.status == 429 else None
            response = JSONResponse(_error(refused.code, refused.reason), refused.status, again)
            with suppress(OSError):  # its sender may have gone
                await response(scope, receive, send)
        except Gone:
            outcome = "gone"
        except Exception as error:
            outcome, reason = "failed", f"The front failed ({type(error).__name__}); the request was fine."
            with suppress(Exception):  # the answer may have begun, and its sender may have gone
                await JSONResponse(_error(outcome, reason), 500)(scope, receive, send)
        except asyncio.CancelledError:  # the server stops and waits no longer
            self.meter.ended.labels("stopped").inc()
            raise
        if outcome == "answered":
            self.meter.seconds.observe(time.perf_counter() - begun)
        self.meter.ended.labels(outcome).inc()

    async def _answered(self, request: Request, until: float, send: Any) -> str:
        """Send the engine's answer; return how it ended. Raises Refused and Gone before anything is sent."""
        try:
            async with asyncio.timeout_at(until):
                chat = read_chat(await read_body(request, self.limits.body_bytes), self.limits)
        except TimeoutError as error:
            raise Refused(408, "slow", "The request did not arrive in time.") from error
        try:
            async with asyncio.timeout_at(until) as clock, AsyncExitStack() as held:
                answer = await unless_gone(request, self._asked(chat, held))
                # Bytes are sent from here on, so a deadline can no longer become a 504.
                clock.reschedule(None)
                return await self._sent(answer, chat["stream"], until, request, send)
        except TimeoutError as error:
            raise Refused(504, "late", f"No answer within {self.limits.deadline:g} seconds.") from error
        except httpx.HTTPError as error:
            raise Refused(502, "engine", "The engine does not answer.") from error

    async def _asked(self, chat: dict[str, Any], held: AsyncExitStack) -> httpx.Response:
        """The engine's answer; of one that streams, its head. ``held`` keeps the place at the gate."""
        await held.enter_async_context(self.gate.passed())
        question = self.engine.build_request("POST", "/v1/chat/completions", json=chat | self.always)
        answer = await self.engine.send(question, stream=chat["stream"])
        held.push_async_callback(answer.aclose)
        if answer.status_code != 200:
            await answer.aread()  # here, where the deadline still applies
        return answer

    async def _sent(self, answer: httpx.Response, stream: bool, until: float, request: Request, send: Any) -> str:
        """Send the engine's answer on; return how it ended."""
        kind = answer.headers.get("content-type", "application/json")
        if stream and answer.status_code == 200:
            relay = Relay(answer, until)
            await StreamingResponse(relay, media_type=kind)(request.scope, request.receive, send)
            return relay.ended
        response = Response(await answer.aread(), answer.status_code, media_type=kind)
        await response(request.scope, request.receive, send)
        return "answered" if answer.status_code == 200 else "refused_by_engine"


def create(
    engine: str,
    limits: Limits | None = None,
    schema: dict[str, Any] | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> FastAPI:
    """Return the app that stands before the engine at this address.

    With ``schema``, a JSON schema, every answer follows it. ``transport`` replaces the network in tests.
    """
    client = httpx.AsyncClient(
        base_url=engine,
        timeout=None,
        # The gate counts; httpx alone would stop at 100. No connection is kept: an engine may close one just when the
        # next request takes it.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        transport=transport,
        headers={"Accept-Encoding": "identity"},
    )
    front = Front(client, limits or Limits(), schema)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with client:
            yield

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.front = front
    app.add_route("/v1/chat/completions", front, methods=["POST"])

    @app.get("/health")
    async def health() -> JSONResponse:
        try:
            well = (await client.get("/health", timeout=2)).status_code == 200
        except httpx.HTTPError:
            well = False
        return JSONResponse({"status": "ok" if well else "engine"}, 200 if well else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(front.meter.registry), media_type=CONTENT_TYPE_LATEST)

    return app


def llama_server(
    model: str, slots: int, context: int = 1024, threads: int | None = None, port: int = 0, prompts_mb: int = 0
) -> Any:
    """Start llama.cpp's own server for a GGUF file in this process, on loopback.

    ``.listening_address`` of what is returned says where. ``slots`` requests are worked on at once
    (continuous batching), each with ``context`` tokens. Up to ``prompts_mb`` megabytes of old prompts' keys and
    values are kept for when they come again. It ends with the last reference to it, and with the process.
    """
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = model
    settings.n_parallel, settings.n_ctx = slots, slots * context
    settings.port, settings.endpoint_metrics, settings.ui = port, True, False
    settings.cache_ram_mib = prompts_mb  # llama.cpp's own default is 8192: its memory would grow for days
    settings.fit_params, settings.verbosity = False, 0
    if threads:
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    return xllamacpp.Server(settings)


def main() -> None:
    """Serve until a signal; then stop listening, let running answers finish, and end."""
    import uvicorn

    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = given.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="a GGUF file: llama.cpp runs inside")
    which.add_argument("--engine", help="the address of an engine that runs already")
    given.add_argument("--host", default="127.0.0.1")
    given.add_argument("--port", type=int, default=8000)
    given.add_argument("--schema", help="a file with the JSON schema that every answer follows")
    given.add_argument("--threads", type=int, help="of llama.cpp; without it llama.cpp chooses by the machine's cores")
    for name, value in vars(Limits()).items():
        given.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options = given.parse_args()
    limits = Limits(**{name: getattr(options, name) for name in vars(Limits())})
    inside = llama_server(options.model, limits.at_once, threads=options.threads) if options.model else None
    schema = json.loads(Path(options.schema).read_text(encoding="utf-8")) if options.schema else None
    app = create(inside.listening_address if inside else options.engine, limits, schema)
    uvicorn.run(app, host=options.host, port=options.port, timeout_graceful_shutdown=int(limits.deadline) + 5)


if __name__ == "__main__":
    main()
