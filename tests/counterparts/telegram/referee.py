"""python-telegram-bot as a referee of the Bot API that tests talk to: of what was said there, or as a bot of its own."""

import asyncio
import inspect
import json
import re
import sys

import telegram
from telegram import Bot, InputMediaDocument, InputMediaPhoto, InlineKeyboardButton, InlineKeyboardMarkup, Update
from telegram.error import BadRequest, Conflict

# What each method answers; what is not here answers that it is done.
ANSWERS = {
    "getMe": telegram.User,
    "getFile": telegram.File,
    "getWebhookInfo": telegram.WebhookInfo,
    "sendMessage": telegram.Message,
    "sendPhoto": telegram.Message,
    "sendVideo": telegram.Message,
    "sendAudio": telegram.Message,
    "sendDocument": telegram.Message,
    "sendMediaGroup": telegram.Message,
    "editMessageText": telegram.Message,
    "editMessageCaption": telegram.Message,
    "editMessageReplyMarkup": telegram.Message,
}
# The fields of calls that are objects.
OBJECTS = {
    "reply_parameters": telegram.ReplyParameters,
    "reply_markup": telegram.InlineKeyboardMarkup,
    "reaction": telegram.ReactionType,
    "commands": telegram.BotCommand,
    "menu_button": telegram.MenuButton,
}
MEDIA = {
    "photo": telegram.InputMediaPhoto,
    "video": telegram.InputMediaVideo,
    "audio": telegram.InputMediaAudio,
    "document": telegram.InputMediaDocument,
}


def known(thing, where):
    """Fails for a field that the library does not know."""
    if isinstance(thing, telegram.TelegramObject):
        if thing.api_kwargs:
            raise AssertionError(f"{where}: {type(thing).__name__} has no {sorted(thing.api_kwargs)}")
        for name in thing.to_dict(recursive=False):
            known(getattr(thing, name, getattr(thing, f"{name}_user", None)), f"{where}.{name}")
    elif isinstance(thing, (list, tuple)):
        for each in thing:
            known(each, where)


def read(kind, value, bot, where):
    """Reads a value, or each of a list, as an object of this kind."""
    for each in value if isinstance(value, list) else [value]:
        try:
            thing = kind.de_json(each, bot)
        except Exception as error:
            raise AssertionError(f"{where}: {error} in {json.dumps(each)[:600]}") from error
        known(thing, where)


def call(method, fields, bot):
    """Fails for a call that the library would not make."""
    name = re.sub("([A-Z])", lambda found: "_" + found.group(1).lower(), method)
    takes = set(inspect.signature(getattr(Bot, name)).parameters)
    # In a test the files of a form stand under this name.
    parts = set(fields.get("files") or {})
    said = set(fields) - {"files"} | {part for part in parts if not part.startswith("file")}
    unknown = said - takes
    if unknown:
        raise AssertionError(f"{method} takes no {sorted(unknown)}")
    for key, kind in OBJECTS.items():
        if fields.get(key):
            read(kind, fields[key], bot, f"{method}.{key}")
    for item in fields.get("media") or []:
        takes = set(inspect.signature(MEDIA[item["type"]].__init__).parameters) | {"type"}
        if set(item) - takes or item["media"].removeprefix("attach://") not in parts:
            raise AssertionError(f"{method}: {item} is no media, or its file is missing")
    if unknown := set(fields.get("allowed_updates") or []) - set(Update.ALL_TYPES):
        raise AssertionError(f"{method}: there are no updates {sorted(unknown)}")


def kind_of(update):
    return next(key for key in update if key != "update_id")


def types(path):
    said = json.load(open(path))
    bot = Bot("123456:types")
    for update in said["updates"]:
        read(Update, update, bot, f"update {kind_of(update)}")
    for done in said["calls"]:
        call(done["method"], done["fields"], bot)
        kind = ANSWERS.get(done["method"])
        if kind:
            read(kind, done["result"], bot, done["method"])
        elif done["result"] is not True:
            raise AssertionError(f"{done['method']} answers {done['result']}")
    kinds = sorted({kind_of(update) for update in said["updates"]})
    methods = sorted({done["method"] for done in said["calls"]})
    print(f"{len(said['updates'])} updates ({', '.join(kinds)}), {len(said['calls'])} calls ({', '.join(methods)})")


async def refused(what, words, kind=BadRequest):
    try:
        await what
    except kind as error:
        assert words.lower() in str(error).lower(), f"{words!r} in {error}"
    else:
        raise AssertionError(f"it was not refused: {words}")


async def plays(url, token):
    bot = Bot(token, base_url=f"{url}/bot", base_file_url=f"{url}/file/bot")
    async with bot:
        assert (await bot.get_me()).username == "VestibuleBot"
        heard = await bot.get_updates(timeout=10, allowed_updates=["message", "callback_query"])
        known(heard, "getUpdates")
        message = heard[0].effective_message
        assert message.text == "hello from a test", message
        chat = message.chat_id
        again = await bot.get_updates(offset=heard[0].update_id + 1, timeout=0)
        assert not again, again
        keyboard = InlineKeyboardMarkup([[InlineKeyboardButton("Yes", callback_data="y")]])
        sent = await message.reply_text("<b>bold</b> & 7", parse_mode="HTML", reply_markup=keyboard)
        assert sent.text == "bold & 7" and sent.reply_markup == keyboard, sent
        assert (await sent.edit_text("now")).text == "now"
        await refused(sent.edit_text("now"), "not modified")
        number = await bot.send_message(chat, "7")
        assert number.text == "7" and await number.delete(), number
        file = await bot.send_document(chat, b"the bytes", filename="a.txt", caption="under it")
        assert (file.document.file_name, file.caption) == ("a.txt", "under it"), file
        assert bytes(await (await file.document.get_file()).download_as_bytearray()) == b"the bytes"
        assert (await file.edit_caption("and now")).caption == "and now"
        await refused(file.edit_text("x"), "there is no text in the message")
        photos = [InputMediaPhoto(b"1", caption="both"), InputMediaPhoto(b"2")]
        album = await bot.send_media_group(chat, photos)
        assert [one.caption for one in album] == ["both", None] and album[0].photo, album
        assert album[0].media_group_id == album[1].media_group_id is not None
        mixed = [InputMediaPhoto(b"1"), InputMediaDocument(b"2")]
        await refused(bot.send_media_group(chat, mixed), "can't be mixed")
        await refused(bot.send_message(chat, "<b>x", parse_mode="HTML"), "can't parse entities")
        await refused(bot.send_message(chat, "x" * 4_097), "too long")
        await refused(bot.send_photo(chat, b"1", caption="x" * 1_025), "caption is too long")
        assert await bot.set_message_reaction(chat, message.message_id, "👍")
        await refused(bot.set_message_reaction(chat, message.message_id, "✅"), "REACTION_INVALID")
        assert await bot.send_chat_action(chat, "typing")
        assert await bot.set_my_commands([("ask", "Ask the agent")])
        assert await bot.set_chat_menu_button(menu_button=telegram.MenuButtonCommands())
        await refused(bot.set_webhook("http://bot.example/x"), "HTTPS")
        await refused(bot.set_webhook("https://bot.example/x", secret_token="a b"), "unallowed characters")
        assert await bot.set_webhook("https://bot.example/x", secret_token="a_b", allowed_updates=["message"])
        info = await bot.get_webhook_info()
        known(info, "getWebhookInfo")
        assert info.url == "https://bot.example/x" and info.allowed_updates == ("message",), info
        await refused(bot.get_updates(timeout=0), "webhook", Conflict)
        assert await bot.delete_webhook()
        first = asyncio.create_task(bot.get_updates(timeout=10))
        await asyncio.sleep(0.5)
        # A library keeps one connection for this.
        async with Bot(token, base_url=f"{url}/bot") as another:
            await another.get_updates(timeout=0)
        await refused(first, "other getUpdates", Conflict)
    print("a bot by python-telegram-bot works here")


match sys.argv[1:]:
    case ["types", path]:
        types(path)
    case ["python", url, token]:
        asyncio.run(plays(url, token))
