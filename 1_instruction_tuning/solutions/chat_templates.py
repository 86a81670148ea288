"""Reference answers to the exercises of the notebook chat_templates.

`hint(...)` in the notebook gives less away.
"""


# 🐢 ChatML by hand


def chatml(messages, add_generation_prompt):
    """Return the conversation as one ChatML text."""
    # Every message is one turn: marker, role, newline, content as it is, marker, newline.
    text = "".join(f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages)
    # An open turn has a role and no content yet: what the model writes next is the answer.
    return text + "<|im_start|>assistant\n" if add_generation_prompt else text


# 🐕 A template that carries results
#
# A newline directly after {% ... %} is swallowed (trim_blocks), one after {{ ... }} stays. So the lines
# between two blocks read as they will look. No line is about a missing system message, so none is invented.

RESULT_TEMPLATE = """{% for message in messages %}
{% if message.role == 'tool' %}
<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% else %}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endif %}
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}"""


ANSWERS = {
    "chat_templates/turtle": lambda: chatml,
    "chat_templates/dog": lambda: RESULT_TEMPLATE,
}
