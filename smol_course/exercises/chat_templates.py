"""The exercises of the notebook chat_templates: ChatML by hand, and a template that carries tool results.

A learner's template is code that nobody has read: it is rendered in Jinja's sandbox, for a limited length.
"""

import copy
import re
from collections.abc import Callable
from typing import Any

from smol_course.exercises import Exercise, Mistake, NotYet, call, expect

Messages = list[dict[str, str]]
START, END = "<|im_start|>", "<|im_end|>"
_LONGEST_TEMPLATE, _LONGEST_TEXT = 20_000, 20_000  # characters


def _said(*turns: str) -> Messages:
    return [dict(zip(("role", "content"), turn.split(": ", 1), strict=True)) for turn in turns]


_CONVERSATIONS = (
    _said("system: Answer in one short sentence.", "user: When is lunch?"),
    _said("system: Be kind.", "user: When is lunch?", "assistant: At noon.", "user: And dinner?"),
    _said("system: ", "user:   Two lines,\n\nand spaces around \n", "assistant: {'day': null}\n"),
    _said("system: You fill a calendar."),
)
_CALL = "assistant: free_on('friday')"
_TOOL_CONVERSATIONS = (
    _said("system: Use the tools.", "user: Am I free on Friday?", _CALL, "tool: ['09:00', '15:30']"),
    _said("user: Am I free on Friday?", _CALL, "tool: []", "assistant: No."),
    _said("system: Use the tools.", "user: Friday or Monday?", _CALL, "tool: []", "tool: ['10:00']"),
    _said("user: which tool \n is\n it? ", _CALL, 'tool: {"free":\n  [{"at": "10:00"}]}\n', "assistant: At 10."),
)


# --- What is right, and how a wrong text differs from it ----------------------------------------------------


def _chatml(messages: Messages, opened: bool) -> str:
    turns = [f"{START}{message['role']}\n{message['content']}{END}\n" for message in messages]
    return "".join(turns) + (f"{START}assistant\n" if opened else "")


def _mistake(text: str, messages: Messages, opened: bool) -> str | None:
    """Return the first difference between the text and the conversation's ChatML, None without one."""
    if text == _chatml(messages, opened):
        return None
    return (
        _wrong_frame(text, messages)
        or _wrong_opening(text, opened)
        or _wrong_turns(text, messages)
        or f"Compare your text with the right one by print(repr(...)): yours ends with {text[-30:]!r}."
    )


def _wrong_frame(text: str, messages: Messages) -> str | None:
    """Markers and turns that are missing or too many."""
    if START not in text:
        return f"There is no {START} in your text, and every turn begins with one."
    if not text.startswith(START):
        return f"Something stands before the first {START}: the text begins with {text[:20]!r}."
    systems = sum(message["role"] == "system" for message in messages)
    if text.count(f"{START}system") > systems:
        return "You invented a system message: write only the messages that are given."
    ends = text.count(END)
    if ends < len(messages):
        return f"{END} is missing: {len(messages)} messages were given, and {ends} of them end with it."
    if ends > len(messages):
        return f"There are more {END} than messages: the turn that the model is to fill stays open."
    return None


def _wrong_opening(text: str, opened: bool) -> str | None:
    """The assistant's open turn at the end."""
    last = text.rpartition(END)[2]
    if opened and START not in last:
        return "With add_generation_prompt=True the text must end by opening the assistant's turn."
    if not opened and START in last:
        return "With add_generation_prompt=False no turn is open at the end; yours opens one all the same."
    if opened and last.partition(START)[2] != "assistant\n":
        opening = last.partition(START)[2]
        return f"The open turn at the end should be the role and a newline; yours is {opening!r}."
    return None


def _wrong_turns(text: str, messages: Messages) -> str | None:
    """Roles, newlines and content, turn by turn."""
    for number, (turn, message) in enumerate(zip(text.split(START)[1:], messages, strict=False), 1):
        role, content = message["role"], message["content"]
        if not turn.startswith(role):
            first_line = turn.partition("\n")[0][:30]
            return f"Turn {number} begins with {first_line!r}, but the role of that message is {role!r}."
        if not turn.startswith(f"{role}\n"):
            return f"In turn {number} no newline follows directly after the role {role!r}."
        body, _, after = turn[len(role) + 1 :].rpartition(END)
        if after == "":
            return f"After the {END} of turn {number} a newline is missing."
        if after != "\n":
            return f"After the {END} of turn {number} there should be one newline; yours has {after[:20]!r}."
        if body != content and body.strip() == content.strip():
            return (
                f"The content of turn {number} has lost or gained spaces or newlines at its ends: "
                "it goes in as it was given."
            )
        if body != content:
            return f"The content of turn {number} should be {content[:60]!r}, but yours is {body[:60]!r}."
    return None


# --- 🐢 ChatML by hand --------------------------------------------------------------------------------------


def _judge_chatml(answer: Any) -> str | None:
    for messages in _CONVERSATIONS:
        for opened in (True, False):
            copied = copy.deepcopy(messages)
            text = expect(call(answer, copied, opened), str, "what chatml returns")
            if mistake := _mistake(text, messages, opened):
                return mistake
            if copied != messages:
                return "The text is right, but your function changed the list of messages that it was given."
    return None


def _turns(messages: Messages, start: str = START, end: str = f"{END}\n") -> str:
    return "".join(f"{start}{message['role']}\n{message['content']}{end}" for message in messages)


def _open(opened: bool) -> str:
    return f"{START}assistant\n" if opened else ""


def _adds_to_the_list(messages: Messages, opened: bool) -> str:
    messages += [{"role": "assistant", "content": ""}] if opened else []
    return _turns(messages).removesuffix(f"{END}\n") if opened else _turns(messages)


def _human(messages: Messages) -> Messages:
    return [message | {"role": message["role"].replace("user", "human")} for message in messages]


_DEFAULT = f"{START}system\nYou are a helpful AI assistant named SmolLM{END}\n"

_TURTLE = Exercise(
    id="chat_templates/turtle",
    level="🐢",
    title="ChatML by hand",
    goal="Write the text that the ChatML template makes of a list of messages.",
    minutes=5,
    judge=_judge_chatml,
    hints=(
        "Print `repr(...)` of what `tokenizer.apply_chat_template` made above: where is each \\n?",
        "Every turn has the same six parts: start marker, role, newline, content, end marker, newline.",
        "Join one f-string for each message. The second argument decides what follows them.",
        "A turn is f\"<|im_start|>{m['role']}\\n{m['content']}<|im_end|>\\n\"; an open turn is the same, cut "
        "off after its first newline.",
    ),
    wrong=(
        (
            "no newline after the end marker",
            lambda: lambda messages, opened: _turns(messages, end=END) + _open(opened),
            "of turn 1 a newline is missing",
        ),
        ("never opens", lambda: lambda messages, opened: _turns(messages), "must end by opening"),
        (
            "always opens",
            lambda: lambda messages, opened: _turns(messages) + _open(True),
            "opens one all the same",
        ),
        (
            "another name for a role",
            lambda: lambda messages, opened: _turns(_human(messages)) + _open(opened),
            "begins with 'human', but the role",
        ),
        (
            "no end marker",
            lambda: lambda messages, opened: _turns(messages, end="\n") + _open(opened),
            f"{END} is missing",
        ),
        (
            "no start marker",
            lambda: lambda messages, opened: _turns(messages, start=""),
            f"There is no {START}",
        ),
        (
            "invents a system message",
            lambda: lambda messages, opened: _DEFAULT + _turns(messages) + _open(opened),
            "invented a system message",
        ),
        (
            "role and content on one line",
            lambda: lambda messages, opened: _turns(messages).replace("system\n", "system ") + _open(opened),
            "no newline follows directly after the role",
        ),
        (
            "closes the open turn",
            lambda: lambda messages, opened: _turns(messages) + (_open(opened) and f"{_open(True)}{END}\n"),
            f"more {END} than messages",
        ),
        (
            "strips the content",
            lambda: (
                lambda messages, opened: (
                    _turns([message | {"content": message["content"].strip()} for message in messages]) + _open(opened)
                )
            ),
            "spaces or newlines at its ends",
        ),
        ("changes the list", lambda: _adds_to_the_list, "changed the list of messages"),
    ),
)


# --- 🐕 A template that carries results ---------------------------------------------------------------------


def _judge_template(answer: Any) -> str | None:
    source = expect(answer, str, "result_template")
    if not source.strip():
        raise NotYet("result_template is still empty.")
    for messages in _TOOL_CONVERSATIONS:
        for opened in (True, False):
            text = _rendered(source, messages, opened)
            # The closing tag may have <|im_end|> behind it or on the next line: the card allows both.
            text = text.replace(f"</tool_response>\n{END}", f"</tool_response>{END}")
            turns = [_turn(message) for message in messages]
            if text != _chatml(turns, opened):
                return _tool_mistake(text, messages) or _mistake(text, turns, opened)
    return None


def _turn(message: dict[str, str]) -> dict[str, str]:
    """The turn that carries the message: a tool's becomes the user's."""
    if message["role"] != "tool":
        return message
    return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}


def _rendered(source: str, messages: Messages, opened: bool) -> str:
    """Render as transformers does, but for a limited length. Raises Mistake if it does not work."""
    if len(source) > _LONGEST_TEMPLATE:
        raise Mistake(f"The template has {len(source)} characters; ten lines are enough.")
    from jinja2 import TemplateSyntaxError

    text = ""
    try:
        pieces = (
            _environment()
            .from_string(source)
            .generate(
                messages=copy.deepcopy(messages),
                add_generation_prompt=opened,
                bos_token=START,
                eos_token=END,
                pad_token=END,
                tools=None,
                documents=None,
            )
        )
        for piece in pieces:
            text += piece
            if len(text) > _LONGEST_TEXT:
                raise Mistake("A short conversation becomes endlessly long: look at the template's loops.")
    except Mistake:
        raise
    except TemplateSyntaxError as error:
        raise Mistake(f"The template does not compile: line {error.lineno}: {error.message}") from error
    except Exception as error:  # the template is code, and may raise anything
        raise Mistake(f"Rendering the template raised {type(error).__name__}: {error}") from error
    return text


def _environment() -> Any:
    """Jinja's sandbox with the settings of transformers, without the operators that can fill the memory."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _raise_exception
    environment.intercepted_binops = frozenset({"*", "**"})
    environment.binop_table |= {"*": _refuse, "**": _refuse}
    return environment


def _raise_exception(message: str) -> None:
    raise Mistake(f"The template itself refuses the conversation: {message}")


def _refuse(left: Any, right: Any) -> Any:
    raise Mistake("This check renders no template that multiplies: do without * and **.")


def _tool_mistake(text: str, messages: Messages) -> str | None:
    """What is wrong with the turns that carry a tool's answer, None if it is something else."""
    if f"{START}tool" in text:
        return "The role `tool` is in your text, but the model does not know that role: use one it knows."
    tools = sum(message["role"] == "tool" for message in messages)
    for tag in ("<tool_response>", "</tool_response>"):
        if text.count(tag) < tools and text.count(START) >= len(messages):
            return f"{tag} is missing around a tool's content."
        if text.count(tag) > tools:
            return f"There are more {tag} than tool messages: only a tool's content is wrapped in them."
        lines = re.findall(rf"^.*{tag}.*$", text, re.MULTILINE)
        if any(line.partition(END)[0] != tag for line in lines):
            return f"{tag} shares its line with something else: each tag has a line of its own."
    asked = sum(message["role"] in ("user", "tool") for message in messages)
    if START in text and text.count(f"{START}user") < asked and text.count(END) < len(messages):
        return "A message has no turn of its own: also of two tool answers in a row, each is one turn."
    return None


_GOOD = """{%- for message in messages %}
{%- if message.role == "tool" %}
<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% else %}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}
<|im_start|>assistant
{% endif %}"""


def _good_but(old: str, new: str) -> Callable[[], str]:
    """Return a function that makes the good template with one thing changed."""
    return lambda: _GOOD.replace(old, new)


_DOG = Exercise(
    id="chat_templates/dog",
    level="🐕",
    title="A template that carries results",
    goal="Write a Jinja template for conversations in which a tool answers.",
    minutes=20,
    judge=_judge_template,
    needs=("jinja2.sandbox",),
    hints=(
        "Begin with the tool template of this notebook and take out what lists the tools. Render it with "
        "`tokenizer.apply_chat_template(messages, chat_template=result_template, tokenize=False)` and look.",
        "Inside the loop, an `if` on `message.role` parts the tool's messages from all others.",
        "Newlines: one directly after `{% ... %}` is swallowed, one after `{{ ... }}` stays, and `{%-` "
        "eats all spaces and newlines before it.",
        'In the branch for `tool`, write five lines as they should look: the start marker with "user", the '
        "opening tag, `{{ message.content }}`, the closing tag and `<|im_end|>`, and `{% else %}`.",
    ),
    wrong=(
        (
            "the role stays tool",
            _good_but("<|im_start|>user", "<|im_start|>tool"),
            "The role `tool` is in your text",
        ),
        (
            "opening tag and content on one line",
            _good_but("_response>\n{{", "_response>{{"),
            "<tool_response> shares",
        ),
        (
            "content and closing tag on one line",
            _good_but("}}\n</tool_response>", "}}</tool_response>"),
            "</tool_response> shares",
        ),
        ("no tags", _good_but("tool_response", "result"), "<tool_response> is missing"),
        (
            "every user's content in tags",
            _good_but('message.role == "tool"', 'message.role in ("tool", "user")'),
            "more <tool_response> than tool messages",
        ),
        ("never opens a turn", _good_but("if add_generation_prompt", "if false"), "must end by opening"),
        ("always opens a turn", _good_but("if add_generation_prompt", "if true"), "opens one all the same"),
        ("does not compile", _good_but("{%- endfor %}", ""), "does not compile: line"),
        (
            "a name that is not there",
            _good_but("message.content", "message.text.body"),
            "raised UndefinedError",
        ),
        (
            "invents a system message",
            lambda: "{% if messages[0].role != 'system' %}" + _DEFAULT + "\n{% endif %}\n" + _GOOD,
            "invented a system message",
        ),
        (
            "two answers in one turn",
            lambda: _GOOD.replace(
                f"{START}user\n", "{{ '<|im_start|>user\n' if loop.previtem.role != 'tool' }}"
            ).replace(f"response>{END}", "response>{{ '<|im_end|>' if loop.last or loop.nextitem.role != 'tool' }}"),
            "also of two tool answers in a row",
        ),
        (
            "no newline after a turn",
            _good_but("<|im_end|>\n", "<|im_end|>"),
            "of turn 1 a newline is missing",
        ),
        (
            "strips the content",
            _good_but("message.content", "message.content | trim"),
            "goes in as it was given",
        ),
        (
            "no end",
            lambda: "{% for a in range(99999) %}{% for b in range(99999) %}a{% endfor %}{% endfor %}",
            "endlessly long",
        ),
        ("fills the memory", lambda: "{{ 'a' * 10 ** 10 }}", "without * and **"),
        ("far too long", lambda: "a" * 30_000, "ten lines are enough"),
    ),
)

EXERCISES = (_TURTLE, _DOG)
