"""Other right answers."""


def chatml(messages, add_generation_prompt):
    pieces = []
    for message in messages:
        pieces += ["<|im_start|>", message["role"], "\n", message["content"], "<|im_end|>", "\n"]
    if add_generation_prompt:
        pieces += ["<|im_start|>", "assistant", "\n"]
    return "".join(pieces)


# Everything inside expressions, on one line, so that no rule of Jinja's about newlines matters.
TEMPLATE = (
    "{% for m in messages -%}"
    "{% set tool = m['role'] == 'tool' -%}"
    r"{{ '<|im_start|>' + ('user' if tool else m['role']) + '\n' + ('<tool_response>\n' if tool else '') + m['content']"
    r" + ('\n</tool_response>' if tool else '') + '<|im_end|>\n' }}"
    "{%- endfor -%}"
    r"{{ '<|im_start|>assistant\n' if add_generation_prompt else '' }}"
)

ALTERNATIVES = {"chat_templates/turtle": lambda: chatml, "chat_templates/dog": lambda: TEMPLATE}
