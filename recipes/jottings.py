"""Make the jottings that module 6 filters, and read each of them back; most of the time goes into the reading.

Needs the adapters `jotting_writer` and `organiser_lora`. It may be stopped and goes on where it was:

    uv run python -m recipes.jottings

Four ways: templates learnt from the 50 jottings, back-translation (the writer is given an event), self-instruct (the
starting model is shown some jottings and writes another one with its event), and others made harder. Nothing is
filtered here. The test messages are not read.
"""

import json
import random
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from smol_course.data import SYSTEM_PROMPT, conversation, events
from smol_course.files import write_text
from smol_course.hardware import prepare
from smol_course.models import MODEL, answer, artifact, find_model
from smol_course.settings import data_folder
from smol_course.synthetic.jottings import jottings
from smol_course.synthetic.messages import (
    PERSONAS,
    Store,
    correct,
    event_faults,
    fill,
    generate,
    new_events,
    read_self,
    said_fields,
    self_prompt,
    shorten,
    template_of,
    write_prompt,
)

TEMPLATES, WRITTEN, INSTRUCTED, EVOLVED = 300, 640, 160, 160
MORE = 960  # written at the end and not read back: writing is quick, and a strict filter leaves few
NO_EVENT = 12  # one written job in so many has no event
SHOWN = 5  # jottings in a self-instruct prompt
TEMPERATURE = 1.0  # each token is drawn with the chance that the model gives it
BATCH = 64
SEED = 0
SHIPPED = Path(__file__).resolve().parents[1] / "smol_course" / "organiser" / "data" / "jottings_made.jsonl"
_EMPTY = {"parent": "", "also": ""}


def known_events() -> list[dict[str, Any]]:
    """Return the events of the training split: where new titles, places and names come from."""
    return [event for event in map(json.loads, events("train")["event"]) if event]


def by_template(seed: int = SEED) -> list[dict[str, Any]]:
    """Return messages made of the seeds' templates."""
    templates = [template for template in (template_of(row["message"], row["event"]) for row in jottings()) if template]
    rng, records = random.Random(seed), []
    for event in new_events(known_events(), 3 * TEMPLATES, seed):
        fitting = [template for template in templates if template.fields == said_fields(event)]
        if fitting and len(records) < TEMPLATES:
            message = fill(rng.choice(fitting), event, templates, rng)
            records.append(_record(f"template-{len(records):04d}", "template", message, event))
    return records


def _record(name: str, origin: str, message: str | None, event: dict[str, Any] | None) -> dict[str, Any]:
    text = json.dumps(event, ensure_ascii=False)
    return {"id": name, "origin": origin, **_EMPTY, "message": message, "event": text}


def to_write(count: int, name: str, seed: int) -> list[dict[str, Any]]:
    """Return so many jobs of the writer: events without a message, some of them no event."""
    drawn = new_events(known_events(), count, seed)
    jobs = [None if number % NO_EVENT == 0 else event for number, event in enumerate(drawn)]
    return [_record(f"{name}-{number:04d}", "back_translation", None, event) for number, event in enumerate(jobs)]


def to_instruct(seed: int = SEED) -> list[dict[str, Any]]:
    """Return the self-instruct jobs: who the note is by, and which jottings are shown."""
    rng, rows = random.Random(seed + 2), list(jottings())
    return [
        _record(f"self-{number:04d}", "self_instruct", None, None)
        | {"persona": PERSONAS[number % len(PERSONAS)], "shown": rng.sample(rows, SHOWN)}
        for number in range(INSTRUCTED)
    ]


def harder(records: list[dict[str, Any]], seed: int = SEED) -> list[dict[str, Any]]:
    """Return messages made harder, of parents whose event follows: a day crossed out, or words in short forms."""
    rng, evolved = random.Random(seed + 3), []
    parents = [record for record in records if not event_faults(record["message"], record["event"])]
    rng.shuffle(parents)
    for parent in parents:
        number = len(evolved)
        if number == EVOLVED:
            break
        message, event = parent["message"], parent["event"]
        crossed = correct(message, event, rng) if number % 2 else None
        short = None if number % 2 else shorten(message, event)
        if crossed is None and short is None:
            continue
        changed, also = (crossed[0], crossed[1][0]) if crossed else (short[0], "")
        new = {"parent": parent["id"], "also": also, "message": changed, "event": event if crossed else short[1]}
        evolved.append({"id": f"evolved-{number:04d}", "origin": "evolved"} | new)
    return evolved


class Maker:
    """The starting model with its two adapters, one of them at work at a time."""

    def __init__(self) -> None:
        self.here = prepare()
        path = find_model(MODEL)
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        base = AutoModelForCausalLM.from_pretrained(path, dtype="float32", attn_implementation=self.here.attention)
        writer = artifact("jotting_writer", made_by="recipes/ship.py", base=path)
        self.model = PeftModel.from_pretrained(base, writer, adapter_name="writer")
        self.model.load_adapter(artifact("organiser_lora", base=path), adapter_name="organiser")

    def write(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Write the message of each job's event."""
        self.model.set_adapter("writer")
        asked = [write_prompt(job["event"]) for job in jobs]
        said = answer(self.model, self.tokenizer, asked, 32, BATCH, self.here.bf16, False, TEMPERATURE)
        return [job | {"message": " ".join(text.split())} for job, text in zip(jobs, said, strict=True)]

    def instruct(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Let the bare model write message and event; where there is no event of the schema, the message is empty."""
        asked = [self_prompt(job["shown"], job["persona"]) for job in jobs]
        with self.model.disable_adapter():
            said = answer(self.model, self.tokenizer, asked, 90, BATCH // 2, self.here.bf16, False, TEMPERATURE)
        records = []
        for job, text in zip(jobs, said, strict=True):
            message, event = read_self(text) or ("", "null")
            kept = {key: value for key, value in job.items() if key not in ("persona", "shown")}
            records.append(kept | {"message": message, "event": event})
        return records

    def read(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Read each message as the organiser does."""
        self.model.set_adapter("organiser")
        asked = [conversation(SYSTEM_PROMPT, record["message"], "")["prompt"] for record in records]
        said = answer(self.model, self.tokenizer, asked, 56, BATCH, self.here.bf16, False)
        return [record | {"read": text} for record, text in zip(records, said, strict=True)]


def main() -> None:
    """Make the records, read them back, and put them where they ship."""
    set_seed(SEED)
    work = data_folder() / "recipes"
    maker, messages = Maker(), Store(work / "jottings_messages.jsonl")
    generate(messages, by_template(), lambda jobs: jobs, TEMPLATES)
    generate(messages, to_write(WRITTEN, "back", SEED + 1), maker.write, BATCH)
    generate(messages, to_instruct(), maker.instruct, BATCH)
    generate(messages, harder([record for record in messages.records if record["origin"] != "evolved"]), list, EVOLVED)
    read = Store(work / "jottings_read.jsonl")
    generate(read, [record for record in messages.records if record["message"]], maker.read, BATCH)
    more = Store(work / "jottings_more.jsonl")
    generate(more, to_write(MORE, "more", SEED + 4), maker.write, BATCH)
    unread = [record | {"read": ""} for record in more.records if record["message"]]
    records = [*read.records, *unread]
    write_text(SHIPPED, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    print(f"{len(records)} records in {SHIPPED.name}; for another set, remove {work.name}/ of your data folder.")


if __name__ == "__main__":
    main()
