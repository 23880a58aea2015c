// The emulator that others wrote has Slack's Web API, its files and its events, but nowhere to send them. This adds what
// is missing: Socket Mode, `app_mention`, and request URLs with `url_verification`.
//
// Control: POST /control/subscribe {url}; GET /control says how many sockets are open and what was acknowledged.
import { createHmac, randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import path from "node:path";

const [folder, portText, seedFile] = process.argv.slice(2);
const port = Number(portText);
const seed = JSON.parse(readFileSync(seedFile, "utf8"));
const { signing_secret: secret, oauth_apps: [app] } = seed.slack;
const { WebSocketServer } = createRequire(path.join(folder, "package.json"))("ws");

// The part of the package that holds its Slack has no name of its own: it is the one that exports it.
const dist = path.join(folder, "node_modules/emulate/dist");
const exportsSlack = (file) => /export \{[^}]*slackPlugin/.test(readFileSync(path.join(dist, file), "utf8"));
const part = readdirSync(dist).find((file) => /^dist-.*\.js$/.test(file) && exportsSlack(file));
const { slackPlugin } = await import(path.join(dist, part));
const { createEmulator } = await import(path.join(dist, "api.js"));

const urls = [];
const sockets = new Set();
const acknowledged = [];
let webhooks;

/** Posts to a request URL, signed as Slack signs. */
async function deliver(url, payload) {
  const body = JSON.stringify(payload);
  const time = String(Math.floor(Date.now() / 1000));
  const mac = createHmac("sha256", secret).update(`v0:${time}:${body}`).digest("hex");
  const headers = {
    "content-type": "application/json", "x-slack-request-timestamp": time, "x-slack-signature": `v0=${mac}`,
  };
  const answer = await fetch(url, { method: "POST", headers, body });
  return { status: answer.status, body: await answer.text() };
}

/** Sends over one of the open sockets, as Slack does. */
function send(type, payload) {
  const open = [...sockets];
  const socket = open[Math.floor(Math.random() * open.length)];
  const envelope = { envelope_id: randomUUID(), type, payload, accepts_response_payload: false };
  socket?.send(JSON.stringify({ ...envelope, retry_attempt: 0, retry_reason: "" }));
}

/** An event of the emulator's goes over the sockets; a mention goes both ways, as an event of its own. */
async function hear(payload) {
  const wrapped = { token: "x", api_app_id: app.app_id, ...payload };
  send("events_api", wrapped);
  const event = payload.event;
  const names = typeof event.text === "string" && event.text.includes(`<@${app.bot_user_id}>`);
  if (event.type !== "message" || event.subtype || !names) return;
  const { user, text, ts, channel, thread_ts } = event;
  const mention = { type: "app_mention", user, text, ts, channel, event_ts: ts, ...(thread_ts ? { thread_ts } : {}) };
  const second = { ...wrapped, event_id: `Ev${randomUUID().slice(0, 8)}`, event: mention };
  send("events_api", second);
  for (const url of urls) await deliver(url, second).catch(console.error);
}

const register = slackPlugin.register;
slackPlugin.register = (routes, store, hooks, ...rest) => {
  webhooks = hooks;
  register(routes, store, hooks, ...rest);
  routes.post("/api/apps.connections.open", (c) =>
    c.req.header("authorization")?.startsWith("Bearer xapp-")
      ? c.json({ ok: true, url: `ws://127.0.0.1:${port + 1}/link/?ticket=${randomUUID()}` })
      : c.json({ ok: false, error: "not_allowed_token_type" }));
  routes.post("/control/subscribe", async (c) => {
    const { url } = await c.req.json();
    const challenge = randomUUID();
    const answer = await deliver(url, { token: "x", challenge, type: "url_verification" });
    if (answer.body !== challenge) return c.json({ ok: false, error: "challenge_failed", answer }, 400);
    urls.push(url);
    hooks.register({ url, events: ["*"], active: true, owner: "slack" });
    return c.json({ ok: true });
  });
  routes.get("/control", (c) => c.json({ sockets: sockets.size, acknowledged }));
};

const inner = createServer((request, response) => {
  let body = "";
  request.on("data", (chunk) => (body += chunk)).on("end", () => {
    response.end("ok");
    if (request.url === "/in") hear(JSON.parse(body)).catch(console.error);
  });
});
new WebSocketServer({ server: inner }).on("connection", (socket) => {
  sockets.add(socket);
  socket.on("close", () => sockets.delete(socket));
  socket.on("message", (data) => acknowledged.push(JSON.parse(data)));
  const hello = { type: "hello", num_connections: sockets.size, connection_info: { app_id: app.app_id } };
  socket.send(JSON.stringify(hello));
});
await new Promise((done) => inner.listen(port + 1, "127.0.0.1", done));
await createEmulator({ service: "slack", port, hostname: "127.0.0.1", baseUrl: `http://127.0.0.1:${port}`, seed });
webhooks.register({ url: `http://127.0.0.1:${port + 1}/in`, events: ["*"], active: true, owner: "slack" });
