// grammY as a referee of the Bot API that tests talk to: a bot that polls, and then one with a webhook.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

const [folder, url, token, port] = process.argv.slice(2);
const { Bot, InlineKeyboard, InputFile, InputMediaBuilder, webhookCallback } = createRequire(join(folder, "x"))("grammy");
const secret = "a-word_of-grammy";
const deadline = setTimeout(() => { console.error("it took too long"); process.exit(1); }, 25_000);

// A bot that answers each text, and tells when it has heard one.
function bot(heard) {
  const bot = new Bot(token, { client: { apiRoot: url } });
  bot.catch(({ error }) => { console.error(error); process.exit(1); });
  bot.on("message:text", async (c) => {
    const sent = await c.reply(`heard ${c.msg.text}`, { reply_markup: new InlineKeyboard().text("ok", "cb1") });
    assert.equal(sent.text, `heard ${c.msg.text}`);
    await c.replyWithChatAction("typing");
    await c.react("👍");
    const photo = (bytes) => InputMediaBuilder.photo(new InputFile(Buffer.from(bytes), `${bytes}.png`));
    const album = await c.replyWithMediaGroup([photo("one"), photo("two")]);
    assert.equal(album.length, 2);
    assert.ok(album[0].photo.at(-1).file_id);
    const file = await c.replyWithDocument(new InputFile(Buffer.from("bytes"), "a.txt"), { caption: "under it" });
    assert.equal(file.document.file_name, "a.txt");
    assert.equal((await c.api.getFile(file.document.file_id)).file_path !== undefined, true);
    await assert.rejects(c.reply("<b>x", { parse_mode: "HTML" }), /can't parse entities/);
    heard(c.msg.text);
  });
  bot.on("callback_query:data", async (c) => {
    await c.editMessageText("edited");
    await c.answerCallbackQuery({ text: "noted" });
    heard(c.callbackQuery.data);
  });
  return bot;
}

function waits() {
  const came = [];
  let wake = () => {};
  const heard = (what) => { came.push(what); wake(); };
  const next = async (what) => { while (!came.includes(what)) await new Promise((resolve) => { wake = resolve; }); };
  return { heard, next };
}

const polled = waits();
const polling = bot(polled.heard);
polling.start();
await polled.next("by polling");
await polled.next("cb1");
await polling.stop();

const posted = waits();
const hooked = bot(posted.heard);
const server = createServer(webhookCallback(hooked, "http", { secretToken: secret }));
await new Promise((resolve) => server.listen(Number(port), "127.0.0.1", resolve));
await hooked.api.setMyCommands([{ command: "ask", description: "Ask the agent" }]);
await hooked.api.setWebhook(`http://127.0.0.1:${port}/bot`, { secret_token: secret, allowed_updates: ["message"] });
assert.equal((await hooked.api.getWebhookInfo()).url, `http://127.0.0.1:${port}/bot`);
await posted.next("by webhook");
await hooked.api.deleteWebhook();
server.closeAllConnections();
server.close();
clearTimeout(deadline);
console.log("a bot by grammY works here");
process.exit(0);
