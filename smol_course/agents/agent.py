"""The organiser as an agent: smolagents' loop around the course's small model, and tasks to measure it by.

smolagents writes its memory in many words, for large models. `conversation_of` says the same in few: that is what the
adapters were trained on (`smol_course.agents.traces`), and what a model of 135 million parameters can read. Two
forms of action: "json", one call as JSON at a time, and "code", a few lines of Python.
"""

import json
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from smolagents import CodeAgent, LogLevel, Tool, ToolCallingAgent
from smolagents.agents import EMPTY_PROMPT_TEMPLATES, MultiStepAgent
from smolagents.local_python_executor import PythonExecutor
from smolagents.memory import ActionStep, TaskStep
from smolagents.models import ChatMessage, MessageRole, Model
from smolagents.utils import AgentError, AgentGenerationError

from smol_course.agents.calendar import Calendar
from smol_course.agents.tools import (
    Function,
    Guard,
    Toolbox,
    as_text,
    call_schema,
    called,
    schema_of,
    summary_of,
)
from smol_course.metrics import fields_right, wilson

JSON_PROMPT = (
    "Keep the calendar. Tools: add_event(title, day, start, place, people), list_events(day), find_events(text), "
    "move_event(id, day, start), cancel_event(id), free_slots(day), final_answer(answer). Reply with one call as JSON."
)
CODE_PROMPT = (
    "Keep the calendar. Tools: add_event(title, day, start, place, people), list_events(day), find_events(text), "
    "move_event(id, day, start), cancel_event(id), free_slots(day), final_answer(answer). Reply with Python code."
)
PROMPTS = {"json": JSON_PROMPT, "code": CODE_PROMPT}
NEW_TOKENS = 96  # the longest action that is waited for
_TAGS = ("<code>", "</code>")  # what smolagents' CodeAgent looks for; the model writes the code alone

Conversation = list[dict[str, str]]
Ask = Callable[[list[Conversation]], list[str]]


# --- The model ----------------------------------------------------------------------------------------------


def conversation_of(messages: Sequence[ChatMessage]) -> Conversation:
    """Return smolagents' messages in the few words of the adapters' training: system, user, assistant and tool."""
    turns: Conversation = []
    for message in messages:
        text = message.content if isinstance(message.content, str) else message.content[0]["text"]
        if message.role == MessageRole.TOOL_CALL:  # says again what the model wrote
            continue
        role = "tool" if message.role == MessageRole.TOOL_RESPONSE else str(message.role.value)
        turns.append({"role": role, "content": _brief(text)})
    return turns


def _brief(text: str) -> str:
    """The text without what smolagents puts around it."""
    text = re.sub(r"\s*Now let's retry: .*", "", text.removeprefix("New task:\n"), flags=re.DOTALL)
    text = re.sub(r"^Call id: .*\n", "", text)
    text = text.removeprefix("Observation:\n").replace("Error:\n", "error: ")
    text = text.replace("Error while parsing tool call from model output: ", "")
    text = re.sub(r"Error in code parsing:\n.*", "write Python code", text, flags=re.DOTALL)
    text = re.sub(r"Execution logs:\n|Last output from code snippet:\nNone$", "", text)
    text = text.replace("Last output from code snippet:\n", "")
    for tag in _TAGS:
        text = text.replace(tag, "")
    return text.strip()


class SmallModel(Model):
    """A model for smolagents that asks a function for its text; ``ask`` takes conversations and returns their answers.

    With ``form="code"`` the text is taken as code. Of a text that is no call, `parse_tool_calls` raises ValueError.
    """

    def __init__(self, ask: Ask, form: str = "json", name: str = "organiser") -> None:
        super().__init__(model_id=name)
        self.ask, self.form = ask, form

    def generate(self, messages: list[ChatMessage], stop_sequences: list[str] | None = None, **_: Any) -> ChatMessage:
        """Return the next action. When the steps are used up smolagents asks for last words: these cost no model."""
        if stop_sequences is None:
            return ChatMessage(MessageRole.ASSISTANT, "stopped: too many steps")
        (text,) = self.ask([conversation_of(messages)])
        if self.form == "code":
            text = f"{_TAGS[0]}\n{text}\n{_TAGS[1]}"
        return ChatMessage(MessageRole.ASSISTANT, text)

    def parse_tool_calls(self, message: ChatMessage) -> ChatMessage:
        """Find the call in the text. Raises ValueError, in few words, if there is none."""
        try:
            parsed = super().parse_tool_calls(message)
            if not all(isinstance(call.function.name, str) for call in parsed.tool_calls):
                raise ValueError("a name that is no text, which would end the run")
        except Exception as error:  # the library raises many kinds, and long texts
            raise ValueError("write one call as JSON") from error
        return parsed


class Together:
    """Lets many agents run at once and asks the model for all of them in one batch, which is what a batch is for.

    ``ask`` of this object is what the agents' models get. Each agent has a thread; the model runs in the caller's.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask, self._changed = ask, threading.Condition()
        self._waiting: list[tuple[Conversation, Future[str]]] = []
        self._alive = 0

    def ask(self, conversations: list[Conversation]) -> list[str]:
        """Wait until all agents that still run want something, and return the answers."""
        futures: list[Future[str]] = [Future() for _ in conversations]
        with self._changed:
            self._waiting += zip(conversations, futures, strict=True)
            self._changed.notify_all()
        return [future.result() for future in futures]

    def run(self, jobs: Sequence[Callable[[], Any]]) -> list[Any]:
        """Run the jobs, each of which may call `ask`; return what they returned. Raises what the first one raised."""
        done: list[Future[Any]] = [Future() for _ in jobs]
        self._alive = len(jobs)
        threads = [threading.Thread(target=self._work, args=pair, daemon=True) for pair in zip(jobs, done, strict=True)]
        for thread in threads:
            thread.start()
        while batch := self._next_batch():
            try:
                texts = self._ask([conversation for conversation, _ in batch])
                for (_, future), text in zip(batch, texts, strict=True):
                    future.set_result(text)
            except BaseException as error:  # nobody may be left waiting
                for _, future in batch:
                    future.set_exception(error)
        for thread in threads:
            thread.join()
        return [future.result() for future in done]

    def _work(self, job: Callable[[], Any], done: "Future[Any]") -> None:
        try:
            done.set_result(job())
        except BaseException as error:
            done.set_exception(error)
        finally:
            with self._changed:
                self._alive -= 1
                self._changed.notify_all()

    def _next_batch(self) -> "list[tuple[Conversation, Future[str]]]":
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) >= self._alive)
            batch, self._waiting = self._waiting, []
            return batch


# --- The agent ----------------------------------------------------------------------------------------------


class GuardedTool(Tool):
    """One of our functions as a smolagents tool: each call goes through the guard, and a refusal is an observation."""

    skip_forward_signature_validation = True
    output_type = "any"

    def __init__(self, function: Function, guard: Guard, plain: bool = True) -> None:
        self.name, self.description = function.__name__, summary_of(function)
        schema = schema_of(function)
        self.inputs = {name: _input(name, part, schema) for name, part in schema["properties"].items()}
        self._function, self._guard, self._plain = function, guard, plain
        super().__init__()

    def forward(self, *values: Any, **named: Any) -> Any:
        """Call the function under the guard; ``plain`` tools return text, the others what the function returns."""
        arguments = dict(zip(self.inputs, values, strict=False)) | named
        given = {name: value for name, value in arguments.items() if value is not None}
        value = called(self._guard, self._function, given)
        return as_text(value) if self._plain else value


def _input(name: str, part: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """An argument's schema as smolagents wants it. Its own check looks at types only, so it is told "any"."""
    described: dict[str, Any] = {"type": "any", "description": part.get("description", name)}
    return described if name in schema.get("required", []) else described | {"nullable": True}


def agent_for(
    functions: Sequence[Function],
    model: Model,
    guard: Guard,
    form: str = "json",
    max_steps: int = 6,
    executor: PythonExecutor | None = None,
    prompt: str | None = "",
) -> MultiStepAgent:
    """Return a smolagents agent with these functions as guarded tools.

    ``prompt`` is the system message: "" for the one that the adapters were trained with, None for smolagents' own long
    one. ``executor`` runs the code of the form "code"; without one it is smolagents' `LocalPythonExecutor`. Raises
    KeyError for another form.
    """
    templates = None if prompt is None else {**EMPTY_PROMPT_TEMPLATES, "system_prompt": prompt or PROMPTS[form]}
    tools = [GuardedTool(function, guard, plain=form == "json") for function in functions]
    shared = {"tools": tools, "model": model, "max_steps": max_steps, "verbosity_level": LogLevel.OFF}
    shared |= {"prompt_templates": templates, "step_callbacks": [_end_if_stopped(guard)]}
    if form == "code":
        return CodeAgent(executor=executor, **shared)
    return ToolCallingAgent(**shared)


def _end_if_stopped(guard: Guard) -> Callable[..., None]:
    def callback(step: ActionStep, agent: MultiStepAgent) -> None:
        if guard.stopped:
            agent.interrupt()

    return callback


@dataclass
class Run:
    """What came of one task: what was said, the steps as pairs (action, observation), and why it ended early, if so."""

    said: str
    steps: list[tuple[str, str]]
    stopped: str | None = None

    def __str__(self) -> str:
        lines = [line for action, seen in self.steps for line in (f"  → {action}", f"  ← {seen}") if line.strip(" →←")]
        return "\n".join([*lines, f"  said: {self.said}"])


def run_agent(agent: MultiStepAgent, guard: Guard, message: str) -> Run:
    """Let an agent work on a message, and return what came of it; a run that the guard ended is a result, too."""
    try:
        said = as_text(agent.run(message))
    except AgentGenerationError:  # the model itself failed: no result
        raise
    except AgentError as error:  # "interrupted": the guard stopped it
        said = f"stopped: {guard.stopped or error.message}"
    return Run(said, steps_of(agent), guard.stopped or (said if said.startswith("stopped: ") else None))


def steps_of(agent: MultiStepAgent) -> list[tuple[str, str]]:
    """Return what the agent did, as (action, observation): its memory in a form that one can read."""
    steps = []
    for step in agent.memory.steps:
        if isinstance(step, TaskStep) or step.model_output is None:
            continue
        seen = step.observations if step.error is None else f"error: {step.error.message}"
        steps.append((_brief(str(step.model_output)), _brief(seen or "")))
    return steps


# --- Tasks, and how well they were done ---------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """How a task ended. ``done`` needs the right calendar, and the right words where the task asks for words."""

    id: str
    kind: str
    done: bool
    calendar_right: bool
    said_right: bool
    run: Run = field(repr=False)


def judge(task: dict[str, Any], calendar: Calendar, run: Run) -> Outcome:
    """Compare the calendar after a run with the one that the task wants, and what was said with what must be said."""
    right = same_week([event.row() for event in calendar.events()], task["after"])
    said = run.said.casefold()
    spoken = all(any(word.casefold() in said for word in choice.split("|")) for choice in task["says"])
    return Outcome(task["id"], task["kind"], right and spoken, right, spoken, run)


def same_week(found: Sequence[dict[str, Any]], wanted: Sequence[dict[str, Any]]) -> bool:
    """Say whether two lists of events are the same week: each event has its like, as event accuracy compares them."""
    left = list(found)
    for event in wanted:
        like = next((candidate for candidate in left if all(fields_right(candidate, _whole(event)).values())), None)
        if like is None:
            return False
        left.remove(like)
    return not left


def _whole(event: dict[str, Any]) -> dict[str, Any]:
    return {"place": None, "people": []} | event


def run_tasks(
    tasks: Sequence[dict[str, Any]],
    ask: Ask,
    form: str = "json",
    max_steps: int = 6,
    guard: Callable[[], Guard] = Guard,
    executor: Callable[[], PythonExecutor] | None = None,
    prompt: str | None = "",
) -> list[Outcome]:
    """Let an agent do each task on a calendar of its own, all together, and return how each ended.

    A task has ``id``, ``kind``, ``message``, ``before`` and ``after`` (lists of events) and ``says`` (words that the
    answer must contain; "|" stands between alternatives). ``guard`` and ``executor`` make a new one for each run.
    """
    together = Together(ask)

    def job(task: dict[str, Any]) -> Outcome:
        calendar, own = Calendar.of(task["before"]), guard()
        runs_code = executor() if executor else None
        model = SmallModel(together.ask, form)
        agent = agent_for(Toolbox(calendar).functions(), model, own, form, max_steps, runs_code, prompt)
        try:
            return judge(task, calendar, run_agent(agent, own, task["message"]))
        finally:
            if hasattr(runs_code, "cleanup"):
                runs_code.cleanup()

    return together.run([lambda task=task: job(task) for task in tasks])


def share_done(outcomes: Sequence[Outcome]) -> tuple[float, float, float, int]:
    """Return the share of tasks that were done, with its 95 % interval and the number of tasks: what `record` takes."""
    done, n = sum(outcome.done for outcome in outcomes), len(outcomes)
    return done / n, *wilson(done, n), n


def asker(
    model: Any,
    tokenizer: Any,
    bf16: bool = False,
    mask: Callable[[], list[Any]] | None = None,
    new_tokens: int = NEW_TOKENS,
) -> Ask:
    """Return a function that asks a model for the next action in each conversation. ``mask`` as `answer` takes it."""
    from smol_course.models import answer

    def ask(conversations: list[Conversation]) -> list[str]:
        return answer(
            model, tokenizer, conversations, max_new_tokens=new_tokens, batch_size=32, bf16=bf16, show=False, mask=mask
        )

    return ask


def call_mask(tokenizer: Any, functions: Sequence[Function], vocabulary: int) -> Callable[[], list[Any]]:
    """Return what `answer` takes as ``mask``: only calls of these functions, as JSON, can be written.

    ``vocabulary`` is the model's number of tokens (``model.config.vocab_size``).
    """
    import xgrammar
    from xgrammar.contrib.hf import LogitsProcessor

    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocabulary)
    schema = json.dumps(call_schema(functions))
    grammar = xgrammar.GrammarCompiler(info).compile_json_schema(schema, any_whitespace=False)
    return lambda: [LogitsProcessor(grammar)]  # one can be used for one batch only
