"""Slack's SDK and Bolt for Python as referees of the Slack that tests talk to: as its client, and as apps that it tells."""

import logging
import sys
import threading
import time
from urllib.request import Request, urlopen

from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler
from slack_sdk.models.blocks import ActionsBlock, ButtonElement, MarkdownTextObject, SectionBlock
from slack_sdk.models.metadata import Metadata
from slack_sdk.socket_mode.builtin import SocketModeClient
from slack_sdk.socket_mode.response import SocketModeResponse

BOT_TOKEN, APP_TOKEN, SECRET = "xoxb-flow-bot", "xapp-flow-app", "flow-signing-secret"
PATIENCE = 10


def refused(word, call, *args, **fields):
    try:
        call(*args, **fields)
    except SlackApiError as error:
        assert error.response["error"] == word, f"{word!r}, not {error.response.data}"
    else:
        raise AssertionError(f"it was not refused: {word}")


def until(what, ready):
    end = time.monotonic() + PATIENCE
    while not (value := ready()):
        assert time.monotonic() < end, f"waited too long until {what}"
        time.sleep(0.01)
    return value


def client_of(url, token=BOT_TOKEN):
    return WebClient(token=token, base_url=f"{url}/", timeout=PATIENCE)


def messages(client):
    """Posting, changing and taking back."""
    blocks = [
        SectionBlock(text=MarkdownTextObject(text="*Deploy?*")),
        ActionsBlock(elements=[ButtonElement(text="Yes", action_id="answer", value="token")]),
    ]
    note = Metadata(event_type="vestibule_delivery", event_payload={"id": "m-1", "part": 0})
    words = {"channel": "C012", "text": "Deploy?"}
    posted = client.chat_postMessage(**words, blocks=blocks, metadata=note, unfurl_links=False)
    assert posted["channel"] == "C012" and posted["message"]["ts"] == posted["ts"], posted.data
    assert posted["message"]["bot_id"] == "B0BOT" and posted["message"]["blocks"][1]["elements"][0]["value"] == "token"
    ts = posted["ts"]
    reply = client.chat_postMessage(channel="C012", text="in its thread", thread_ts=ts)
    assert reply["message"]["thread_ts"] == ts, reply.data
    changed = client.chat_update(channel="C012", ts=ts, text="Deployed.", blocks=[])
    assert (changed["ts"], changed["text"], changed["message"]["text"]) == (ts, "Deployed.", "Deployed."), changed.data
    refused("msg_too_long", client.chat_update, channel="C012", ts=ts, text="x" * 4_001)
    refused("no_text", client.api_call, "chat.postMessage", json={"channel": "C012"})
    refused("not_in_channel", client.chat_postMessage, channel="C0CLOSED", text="x")
    long = client.chat_postMessage(channel="C013", text="x" * 50_000)
    assert len(long["message"]["text"]) == 40_000, "what is too long is cut off"
    assert client.chat_delete(channel="C013", ts=long["ts"])["ts"] == long["ts"]
    refused("message_not_found", client.chat_delete, channel="C013", ts=long["ts"])
    assert client.chat_postEphemeral(channel="C012", user="U0ANN", text="only you")["message_ts"]
    client.assistant_threads_setStatus(channel_id="C012", thread_ts=ts, status="is working")
    client.reactions_add(channel="C012", timestamp=ts, name="eyes")
    refused("already_reacted", client.reactions_add, channel="C012", timestamp=ts, name="eyes")
    refused("invalid_name", client.reactions_add, channel="C012", timestamp=ts, name="\u2705")
    refused("message_not_found", client.reactions_add, channel="C012", timestamp="1.1", name="eyes")
    return ts, reply["ts"]


def lists(client, ts, reply):
    """What was said, and who is there; each list page by page, as the SDK turns them."""
    said = client.conversations_history(channel="C012", oldest="0", limit=100, include_all_metadata=True)
    assert [one["ts"] for one in said["messages"]][-1] < ts and said["messages"][0]["ts"] == ts, said.data
    assert said["messages"][0]["metadata"]["event_payload"] == {"id": "m-1", "part": 0}, said.data
    assert not said["has_more"] and "metadata" not in client.conversations_history(channel="C012")["messages"][0]
    pages = [page["messages"] for page in client.conversations_history(channel="C012", limit=1)]
    assert [len(page) for page in pages] == [1] * len(said["messages"]), pages
    since = {"channel": "C012", "oldest": ts}
    assert client.conversations_history(**since)["messages"] == []
    assert [one["ts"] for one in client.conversations_history(**since, inclusive=True)["messages"]] == [ts]
    thread = client.conversations_replies(channel="C012", ts=ts)["messages"]
    assert [one["ts"] for one in thread] == [ts, reply], "the oldest first"
    # Beyond what is asked for, the first message is there all the same.
    assert [one["ts"] for one in client.conversations_replies(channel="C012", ts=ts, oldest=reply)["messages"]] == [ts]
    refused("thread_not_found", client.conversations_replies, channel="C012", ts="1.1")
    written = said["messages"][-1]
    refused("cant_update_message", client.chat_update, channel="C012", ts=written["ts"], text="x")
    refused("cant_delete_message", client.chat_delete, channel="C012", ts=written["ts"])
    channels = [one for page in client.conversations_list(limit=200) for one in page["channels"]]
    assert [one["name"] for one in channels] == ["general", "random"], channels
    assert client.conversations_info(channel="C012")["channel"]["name"] == "general"
    refused("channel_not_found", client.conversations_info, channel="C999")
    people = [one for page in client.users_list(limit=1) for one in page["members"]]
    assert [one["profile"]["display_name"] for one in people] == ["Ann Lee", "Ben"], people
    assert client.users_info(user="U0ANN")["user"]["real_name"] == "Ann Lee"
    refused("user_not_found", client.users_info, user="U999")
    direct = client.conversations_open(users=["U0ANN"])["channel"]["id"]
    assert direct.startswith("D"), direct
    refused("user_not_found", client.conversations_open, users="B0BOT")


def files(client, ts):
    both = [{"content": "the notes", "filename": "a.txt", "title": "Notes"}, {"content": "b", "filename": "b.txt"}]
    shared = client.files_upload_v2(channel="C012", thread_ts=ts, initial_comment="look", file_uploads=both)
    assert [one["title"] for one in shared["files"]] == ["Notes", "b.txt"], shared.data
    shown = client.conversations_replies(channel="C012", ts=ts)["messages"][-1]
    assert shown["text"] == "look" and [one["name"] for one in shown["files"]] == ["a.txt", "b.txt"], shown
    refused("invalid_arguments", client.files_getUploadURLExternal, filename="a.txt", length=0)
    ids = [{"id": one["id"]} for one in shared["files"]]
    refused("file_not_found", client.files_completeUploadExternal, files=ids, channel_id="C012")


def troubles(url, client):
    """What the SDK makes of answers that say no."""
    for token, word in [("xoxb-wrong", "invalid_auth"), ("", "not_authed"), (APP_TOKEN, "not_allowed_token_type")]:
        refused(word, client_of(url, token).auth_test)
    refused("unknown_method", client.api_call, "chat.unknown")
    refused("not_allowed_token_type", client.apps_connections_open, app_token=BOT_TOKEN)
    # The test has the next two calls limited.
    try:
        client.bots_info()
    except SlackApiError as error:
        response = error.response
        assert response.status_code == 429 and response["error"] == "ratelimited", response
        assert response.headers["Retry-After"] == "1", response.headers
    else:
        raise AssertionError("it was not limited")
    client.retry_handlers.append(RateLimitErrorRetryHandler())
    began = time.monotonic()
    refused("unknown_method", client.bots_info)
    assert time.monotonic() - began >= 1, "the SDK waited as it was told to"
    secrets = {"client_id": "client", "client_secret": "very-secret", "grant_type": "refresh_token"}
    refused("invalid_refresh_token", client.oauth_v2_access, **secrets, refresh_token="xoxe-wrong")
    renewed = client.oauth_v2_access(**secrets, refresh_token="xoxe-first")
    assert renewed["token_type"] == "bot" and renewed["expires_in"] == 43_200, renewed.data
    refused("invalid_refresh_token", client.oauth_v2_access, **secrets, refresh_token="xoxe-first")
    assert client_of(url, renewed["access_token"]).auth_test()["user_id"] == "U0BOT"


def socket(url):
    """Connections by the SDK alone: the greeting, an acknowledgement, the change to the next one."""
    heard, frames = [], []
    client = SocketModeClient(app_token=APP_TOKEN, web_client=client_of(url), ping_interval=0.2)
    client.message_listeners.append(lambda _client, frame, _raw: frames.append(frame))

    def take(client, request):
        heard.append(request)
        client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))

    client.socket_mode_request_listeners.append(take)
    client.connect()
    hello = until("it is greeted", lambda: next((one for one in frames if one.get("type") == "hello"), None))
    assert hello["num_connections"] == 1 and hello["connection_info"]["app_id"] == "A0", hello
    print("connected", flush=True)
    request = until("it is told", lambda: heard and heard[0])
    assert request.type == "events_api" and request.payload["event"]["text"] == "over the socket", request.to_dict()
    until("its pings are answered", lambda: client.current_session.last_ping_pong_time)
    print("heard", flush=True)
    until("the next connection is greeted", lambda: sum(one.get("type") == "hello" for one in frames) == 2)
    print("changed", flush=True)
    until("it is told there", lambda: len(heard) == 2)
    client.close()


def calls(url):
    client = client_of(url)
    own = client.auth_test()
    assert (own["user_id"], own["bot_id"], own["url"]) == ("U0BOT", "B0BOT", "https://cp.slack.com/"), own.data
    ts, reply = messages(client)
    lists(client, ts, reply)
    files(client, ts)
    troubles(url, client)
    socket(url)
    print("the SDK works here", flush=True)


def app_of(url):
    """An app that answers all that it hears."""
    app = App(token=BOT_TOKEN, signing_secret=SECRET, client=client_of(url))
    app.logger.setLevel(logging.ERROR)

    @app.message("hello")
    def greet(message, say, context):
        assert context.team_id == "T0CP" and context.bot_user_id == "U0BOT", context
        say(
            text=f"heard {message['text']}",
            blocks=[ActionsBlock(elements=[ButtonElement(text="Yes", action_id="answer", value="yes")]).to_dict()],
        )

    @app.event("app_mention")
    def mentioned(event, say):
        say(text=f"mentioned in {event['channel']}", thread_ts=event["ts"])

    @app.event({"type": "message", "subtype": "message_changed"})
    def changed(event, say):
        say(f"changed to {event['message']['text']}")

    @app.event({"type": "message", "subtype": "message_deleted"})
    def deleted(event, say):
        say(f"deleted {event['previous_message']['text']}")

    @app.event("reaction_added")
    def reacted(event, client):
        client.chat_postMessage(channel=event["item"]["channel"], text=f"reacted with {event['reaction']}")

    @app.event("channel_rename")
    def renamed(event, client):
        client.chat_postMessage(channel=event["channel"]["id"], text=f"called {event['channel']['name']}")

    @app.action("answer")
    def clicked(ack, body, action, say):
        ack()
        assert body["container"]["message_ts"] == body["message"]["ts"] and action["block_id"], body
        say(f"{body['user']['id']} clicked {action['value']}")

    @app.command("/ask")
    def asked(ack, command, say):
        ack()
        say(f"{command['user_id']} asked {command['text']}")

    return app


def in_socket_mode(url):
    handler = SocketModeHandler(app_of(url), APP_TOKEN)
    handler.connect()
    # It works until the test closes this.
    sys.stdin.read()
    handler.close()


def by_requests(url, port):
    app = app_of(url)
    start = {"port": port, "http_server_logger_enabled": False}
    threading.Thread(target=app.start, kwargs=start, daemon=True).start()
    sys.stdin.read()


def person(url):
    """A person who writes to the bot, where the channel is the app: what they see of its answers."""
    client, bot = client_of(url, "xoxp-ann"), "U0VESTIBULE"
    dev = next(one["id"] for one in client.conversations_list()["channels"] if one["name"] == "dev")

    def answers(channel, ts=None):
        """What the bot said, the oldest first."""
        if ts:
            said = client.conversations_replies(channel=channel, ts=ts)["messages"]
        else:
            said = client.conversations_history(channel=channel)["messages"][::-1]
        return [one for one in said if one.get("user") == bot]

    ts = client.chat_postMessage(channel=dev, text=f"<@{bot}> **please** look &amp; answer")["ts"]
    reply = until("it is answered in a thread", lambda: answers(dev, ts))[0]
    assert (reply["text"], reply["thread_ts"]) == ("@vestibule *please* look &amp; answer", ts), reply
    client.chat_postMessage(channel=dev, thread_ts=ts, text=f"<@{bot}> more")
    until("the thread goes on", lambda: len(answers(dev, ts)) == 2)
    direct = client.conversations_open(users=[bot])["channel"]["id"]
    print(direct, flush=True)
    # The test wires it meanwhile.
    sys.stdin.readline()
    client.files_upload_v2(channel=direct, content="the notes", filename="notes.txt", initial_comment="keep these")
    until("the words and the file are back", lambda: len(answers(direct)) == 2)
    words, shared = answers(direct)
    assert words["text"].startswith("keep these") and shared["files"][0]["name"] == "notes.txt", (words, shared)
    request = Request(shared["files"][0]["url_private"], headers={"authorization": "Bearer xoxp-ann"})
    assert urlopen(request, timeout=PATIENCE).read() == b"the notes"
    client.chat_postMessage(channel=direct, text="and thanks")
    until("the direct chat goes on", lambda: answers(direct)[-1]["text"] == "and thanks")
    print("answered", flush=True)


match sys.argv[1:]:
    case ["person", url]:
        person(url)
    case ["client", url]:
        calls(url)
    case ["app", url]:
        in_socket_mode(url)
    case ["receiver", url, port]:
        by_requests(url, int(port))
