"""pywa as a referee of the Cloud API that tests talk to: as a business there, and as who hears its webhooks."""

import dataclasses
import datetime
import enum
import hashlib
import json
import logging
import sys
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlparse

import httpx
from pywa import WhatsApp, errors, handlers
from pywa.types import Button, Section, SectionList, SectionRow, URLButton
from pywa.types.templates import TemplateLanguage

ANN, HIDDEN = "16505551234", "US.13491208655302741919"
# Who has written nothing for more than 24 hours.
SILENT = "16505550000"

# A word that the library does not know is a fault of who says it.
warnings.filterwarnings("error", category=errors.PywaUnknownEnumMemberWarning)


def business(url, token, number):
    session = httpx.Client(timeout=30)
    wa = WhatsApp(phone_id=number, token=token, session=session, api_version=25.0)
    session.base_url = f"{url}/v25.0"
    return wa


def refused(kind, what, *args, code=None, **more):
    try:
        what(*args, **more)
    except errors.WhatsAppError as error:
        assert type(error) is kind, f"{error!r} is no {kind.__name__}"
        assert code is None or error.code == code, error
        assert error.message and error.fbtrace_id and error.type, f"Meta says more of an error: {error.raw}"
        return error
    raise AssertionError(f"it was not refused: {what.__name__} {args} {more}")


def sends_words(wa):
    refused(errors.TooManyMessages, wa.send_message, ANN, "too much")
    sent = wa.send_message(ANN, "hello")
    assert sent.id.startswith("wamid.") and (sent.chat.id, sent.input) == (ANN, ANN), sent
    assert wa.send_message("+1 (650) 555-1234", "hello").chat.id == ANN, "a number may be written as people do"
    assert wa.send_message(ANN, "again", reply_to_message_id=sent.id).id != sent.id
    answer = wa.api.send_message(wa.phone_id, None, HIDDEN, "individual", "text", {"body": "hello"})
    assert answer["contacts"] == [{"input": HIDDEN, "user_id": HIDDEN}], answer
    assert wa.send_message(HIDDEN, "hello").chat.id == HIDDEN
    refused(errors.InvalidParameter, wa.send_message, ANN, "x" * 4_097)
    assert wa.send_reaction(ANN, "👍", sent.id).message_id == sent.id
    assert wa.remove_reaction(ANN, sent.id)
    assert wa.mark_message_as_read(sent.id) and wa.indicate_typing(sent.id)
    refused(errors.WhatsAppError, wa.mark_message_as_read, "no-message", code=100)


def sends_questions(wa):
    buttons = [Button(title, f"id-{title}") for title in ("Yes", "No", "Later")]
    assert wa.send_message(ANN, "Now?", buttons=buttons, header="Deploy", footer="today").id
    for bad in (
        [*buttons, Button("Never", "id-never")],
        [Button("x" * 21, "id")],
        [Button("Yes", "a"), Button("Yes", "b")],
        [Button("Yes", "a"), Button("No", "a")],
    ):
        refused(errors.InvalidParameter, wa.send_message, ANN, "Now?", buttons=bad)
    refused(errors.InvalidParameter, wa.send_message, ANN, "x" * 1_025, buttons=buttons)

    def rows(labels):
        return SectionList("Choose", [Section("All", [SectionRow(label, f"id-{at}") for at, label in enumerate(labels)])])

    assert wa.send_message(ANN, "Which?", buttons=rows("abcd")).id
    assert wa.send_message(ANN, "x" * 4_096, buttons=rows("abcd")).id
    # Two rows may be called the same, as long as their ids differ.
    assert wa.send_message(ANN, "Which?", buttons=rows("aa")).id
    refused(errors.InvalidParameter, wa.send_message, ANN, "Which?", buttons=rows("abcdefghijk"))
    refused(errors.InvalidParameter, wa.send_message, ANN, "Which?", buttons=rows(["x" * 25]))
    assert wa.send_message(ANN, "The log", buttons=URLButton("Open", "https://a.example/log")).id


def sends_files(wa):
    stored = wa.upload_media(b"the bytes", mime_type="text/plain", filename="a.txt")
    found = wa.get_media_url(stored.id)
    want = hashlib.sha256(b"the bytes").hexdigest()
    assert (found.mime_type, found.file_size, found.sha256) == ("text/plain", 9, want), found
    assert wa.get_media_bytes(found.url) == b"the bytes"
    assert wa.send_document(ANN, stored.id, filename="a.txt", caption="read this").id
    assert wa.send_image(ANN, b"\x89PNG", mime_type="image/png", caption="look").id
    assert wa.send_audio(ANN, b"OggS", mime_type="audio/ogg").id
    refused(errors.WhatsAppError, wa.upload_media, b"PK", mime_type="application/zip", filename="a.zip", code=100)
    gone = refused(errors.WhatsAppError, wa.get_media_url, "404404", code=100)
    assert gone.subcode == 33, gone


def knows_who_may_be_written_to(wa, url, number):
    refused(errors.ReEngagementMessage, wa.send_message, SILENT, "are you there?")
    params = [{"type": "body", "parameters": [{"type": "text", "text": "Ann"}]}]
    sent = wa.send_template(SILENT, "order_ready", TemplateLanguage.GERMAN, params)
    assert sent.id and sent.status == "accepted", sent
    strange = business(url, "EAAother", number)
    error = refused(errors.ExpiredAccessToken, strange.send_message, ANN, "hello", code=190)
    assert error.status_code == 401, error
    refused(errors.ExpiredAccessToken, strange.get_media_url, "1", code=190)


def client(url, token, number):
    wa = business(url, token, number)
    sends_words(wa)
    sends_questions(wa)
    sends_files(wa)
    knows_who_may_be_written_to(wa, url, number)
    print("a business by pywa works here")


def again(wa, message):
    """Sends the message anew, from what it means."""
    kind = message["type"]
    what = message[kind]
    common = {"to": message.get("to") or message["recipient"]}
    if "context" in message:
        common["reply_to_message_id"] = message["context"]["message_id"]
    match kind:
        case "text":
            wa.send_message(text=what["body"], preview_url=what["preview_url"], **common)
        case "reaction":
            wa.send_reaction(emoji=what["emoji"], message_id=what["message_id"], **common)
        case "image":
            wa.send_image(image=what["id"], caption=what.get("caption"), **common)
        case "video":
            wa.send_video(video=what["id"], caption=what.get("caption"), **common)
        case "document":
            wa.send_document(document=what["id"], filename=what["filename"], caption=what.get("caption"), **common)
        case "audio":
            wa.send_audio(audio=what["id"], **common)
        case "template":
            params = what.get("components")
            wa.send_template(name=what["name"], language=TemplateLanguage(what["language"]["code"]), params=params, **common)
        case "interactive":
            wa.send_message(text=what["body"]["text"], buttons=buttons(what["type"], what["action"]), **common)
        case _:
            raise AssertionError(f"pywa sends no {kind}")


def buttons(kind, action):
    match kind:
        case "button":
            return [Button(one["reply"]["title"], one["reply"]["id"]) for one in action["buttons"]]
        case "list":
            sections = [
                Section(one.get("title"), [SectionRow(row["title"], row["id"]) for row in one["rows"]])
                for one in action["sections"]
            ]
            return SectionList(action["button"], sections)
        case "cta_url":
            return URLButton(action["parameters"]["display_text"], action["parameters"]["url"])
    raise AssertionError(f"pywa has no {kind}")


def mirror(url, token, number, path):
    wa = business(url, token, number)
    with open(path) as file:
        messages = json.load(file)
    for message in messages:
        again(wa, message)
    print(f"{len(messages)} messages")


def plain(thing):
    """An update as JSON: each object with the name of its class as its `kind`."""
    if isinstance(thing, enum.Enum):
        return thing.value
    if isinstance(thing, datetime.datetime):
        return int(thing.timestamp())
    if dataclasses.is_dataclass(thing):
        names = [field.name for field in dataclasses.fields(thing)]
        names = [name for name in names if not name.startswith("_") and name not in ("raw", "raw_response", "shared_data")]
        said = {name: plain(getattr(thing, name)) for name in names}
        return {"kind": type(thing).__name__} | {name: value for name, value in said.items() if value is not None}
    if isinstance(thing, (list, tuple)):
        return [plain(one) for one in thing]
    return thing


class Faults(logging.Handler):
    """What the library complains of: it goes on after that, and here nothing may be wrong."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        self.said.append(self.format(record))


def receiver(port, number, secret, verify):
    wa = WhatsApp(phone_id=number, token="t", verify_token=verify, app_secret=secret)
    heard, faults = [], Faults()
    logging.getLogger("pywa").addHandler(faults)
    for kind in (
        handlers.MessageHandler,
        handlers.EditedMessageHandler,
        handlers.DeletedMessageHandler,
        handlers.CallbackButtonHandler,
        handlers.CallbackSelectionHandler,
        handlers.MessageStatusHandler,
    ):
        wa.add_handlers(kind(lambda _, update: heard.append(plain(update))))

    class Webhook(BaseHTTPRequestHandler):
        def answer(self, status, words):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(words.encode())

        def do_GET(self):
            query = {key: values[0] for key, values in parse_qs(urlparse(self.path).query).items()}
            words, status = wa.webhook_challenge_handler(query.get("hub.verify_token"), query.get("hub.challenge"))
            self.answer(status, words)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.clear()
            faults.said.clear()
            if denied := wa.webhook_update_validator(body, self.headers.get("X-Hub-Signature-256")):
                return self.answer(denied[1], denied[0])
            _, status = wa.webhook_update_handler(body)
            if status != 200 or faults.said or len(heard) != 1:
                return self.answer(500, json.dumps({"faults": faults.said, "heard": heard}))
            self.answer(200, json.dumps(heard[0]))

        def log_message(self, *_):
            pass

    HTTPServer(("127.0.0.1", int(port)), Webhook).serve_forever()


match sys.argv[1:]:
    case ["client", url, token, number]:
        client(url, token, number)
    case ["mirror", url, token, number, path]:
        mirror(url, token, number, path)
    case ["receiver", port, number, secret, verify]:
        receiver(port, number, secret, verify)
