// An app by Bolt for JavaScript in Socket Mode, until its input ends. It answers what the one for Python answers.
import assert from "node:assert/strict";
import { subscribe } from "node:diagnostics_channel";
import { createRequire } from "node:module";
import { join } from "node:path";

const [packages, url] = process.argv.slice(2);
const { App, LogLevel, SocketModeReceiver } = createRequire(join(packages, "x"))("@slack/bolt");
setTimeout(() => { console.error("it took too long"); process.exit(1); }, 120_000).unref();
const clientOptions = { slackApiUrl: `${url}/` };

// Slack pings each connection, and the SDK leaves one that is not pinged.
const pinged = new Promise((resolve) => subscribe("undici:websocket:ping", resolve));

const receiver = new SocketModeReceiver({ appToken: "xapp-flow-app", logLevel: LogLevel.ERROR, serverPingTimeout: 5_000,
  installerOptions: { clientOptions } });
const app = new App({ token: "xoxb-flow-bot", receiver, clientOptions, logLevel: LogLevel.ERROR });
app.error(async (error) => { console.error(error); process.exit(1); });

app.message("hello", async ({ message, say, context }) => {
  assert.deepEqual([context.teamId, context.botUserId], ["T0CP", "U0BOT"]);
  const button = { type: "button", text: { type: "plain_text", text: "Yes" }, action_id: "answer", value: "yes" };
  const said = await say({ text: `heard ${message.text}`, blocks: [{ type: "actions", elements: [button] }] });
  assert.equal(said.message.text, `heard ${message.text}`);
});
app.event("app_mention", async ({ event, say }) => {
  await say({ text: `mentioned in ${event.channel}`, thread_ts: event.ts });
});
app.event("message", async ({ event, say }) => {
  if (event.subtype === "message_changed") await say(`changed to ${event.message.text}`);
  if (event.subtype === "message_deleted") await say(`deleted ${event.previous_message.text}`);
});
app.event("reaction_added", async ({ event, client }) => {
  await client.chat.postMessage({ channel: event.item.channel, text: `reacted with ${event.reaction}` });
});
app.event("channel_rename", async ({ event, client }) => {
  await client.chat.postMessage({ channel: event.channel.id, text: `called ${event.channel.name}` });
});
app.action("answer", async ({ ack, body, action, say }) => {
  await ack();
  assert.equal(body.container.message_ts, body.message.ts);
  await say(`${body.user.id} clicked ${action.value}`);
});
app.command("/ask", async ({ ack, command, say }) => {
  await ack();
  await say(`${command.user_id} asked ${command.text}`);
});

await app.start();
for await (const _ of process.stdin);
await pinged;
await app.stop();
process.exit(0);
