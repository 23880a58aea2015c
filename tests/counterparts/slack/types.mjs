// The types of Slack's SDK for TypeScript as referee of what the channel and the stand-in of the tests say to each other: every
// call's fields, its answer, and what is told. A field that a type does not know is a fault, and so is one that it lacks.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [packages, file] = process.argv.slice(2);
const { calls, told } = JSON.parse(readFileSync(file, "utf8"));

// In a form each of these is a text.
const JSON_FIELDS = new Set(["blocks", "metadata", "files", "limit", "length", "inclusive", "include_all_metadata",
  "unfurl_links", "unfurl_media", "exclude_archived"]);

const HEAD = `
import type * as slack from "@slack/types";
import type { BlockAction, ButtonAction, EnvelopedEvent, SlashCommand } from "@slack/bolt";
import type { WebClient } from "@slack/web-api";

// Only the keys that have names, where a type has some; and an enumeration takes its words.
type Named<T> = 0 extends 1 & T ? any
  : T extends string ? \`\${T}\`
  : T extends readonly (infer U)[] ? Named<U>[]
  : T extends object ? [keyof OfNames<T>] extends [never] ? T : { [K in keyof OfNames<T>]: Named<OfNames<T>[K]> }
  : T;
type OfNames<T> = { [K in keyof T as string extends K ? never : number extends K ? never : K]: T[K] };
type Method = (...args: any) => Promise<any>;
// The token and the app's secret are sent in a header.
type Fields<M extends Method> = Without<Named<NonNullable<Parameters<M>[0]>>, "token" | "client_id" | "client_secret">;
type Without<T, K extends string> = T extends object ? Omit<T, K> : T;
type Answer<M extends Method> = Named<Awaited<ReturnType<M>>>;

// What is told of a message within an event says less than an event: where it is, the event itself says.
type Within<T> = T extends object ? Omit<T, "channel" | "channel_type" | "event_ts" | "subtype"> & { team?: string } : T;
type Inner = Within<slack.GenericMessageEvent>;
type Around<E> = Named<Omit<E, "message" | "previous_message">>
  & (E extends { message: unknown } ? { message: Named<Inner> } : {})
  & (E extends { previous_message: unknown } ? { previous_message: Named<Inner> } : {});
type Envelope<E> = Omit<Named<EnvelopedEvent<any>>, "event"> & { event: E };
`;

// The type of an event, by its type and subtype.
const EVENTS = {
  "message": "Named<Omit<slack.GenericMessageEvent, 'subtype'>>",
  "message file_share": "Named<slack.FileShareMessageEvent>",
  "message message_changed": "Around<slack.MessageChangedEvent>",
  "message message_deleted": "Around<slack.MessageDeletedEvent>",
  "app_mention": "Named<slack.AppMentionEvent>",
  "reaction_added": "Named<slack.ReactionAddedEvent>",
  "reaction_removed": "Named<slack.ReactionRemovedEvent>",
  "channel_rename": "Named<slack.ChannelRenameEvent>",
};

function typeOf(kind, payload) {
  if (kind === "interactive") return "Omit<Named<BlockAction<ButtonAction>>, 'message' | 'container' | 'enterprise'> & " +
    "{ enterprise: null, container: any, message: any }";
  if (kind === "slash_commands") return "Named<SlashCommand>";
  const { type, subtype } = payload.event;
  const event = EVENTS[subtype ? `${type} ${subtype}` : type];
  if (!event) throw new Error(`no type for ${type} ${subtype}`);
  return `Envelope<${event}>`;
}

// The types of answers were gathered from examples, which had no blocks of some kinds. What was posted is read as fields.
const withoutBlocks = (key, value) => (key === "blocks" ? undefined : value);

const lines = [HEAD];
const declare = (type, value, leaves) =>
  lines.push(`export const c${lines.length}: ${type} = ${JSON.stringify(value, leaves)};`);
for (const [method, fields, answer] of calls) {
  const of = `WebClient${method.split(".").map((word) => `["${word}"]`).join("")}`;
  const read = Object.entries(fields).map(([key, text]) => [key, JSON_FIELDS.has(key) ? JSON.parse(text) : text]);
  declare(`Fields<${of}>`, Object.fromEntries(read));
  declare(`Answer<${of}>`, answer, withoutBlocks);
}
for (const [kind, payload] of told) declare(typeOf(kind, payload), payload);

const folder = mkdtempSync(join(tmpdir(), "slack-types-"));
symlinkSync(join(packages, "node_modules"), join(folder, "node_modules"));
writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
writeFileSync(join(folder, "said.ts"), lines.join("\n"));
const tsc = join(packages, "node_modules/typescript/bin/tsc");
const options = ["--noEmit", "--strict", "--skipLibCheck", "--types", "", "--module", "nodenext", "--target", "es2024",
  "--pretty", "false"];
try {
  execFileSync(process.execPath, [tsc, ...options, "said.ts"], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
} catch (error) {
  const at = (text) => text.replace(/said\.ts\((\d+),\d+\)/g, (_, number) => {
    const line = lines.join("\n").split("\n")[number - 1];
    return line.slice(0, 1500);
  });
  console.log(at(error.stdout?.toString() ?? String(error)));
  process.exitCode = 1;
}
rmSync(folder, { recursive: true });
if (process.exitCode) process.exit();
const methods = [...new Set(calls.map(([method]) => method))].sort();
const kinds = [...new Set(told.map(([kind, { event }]) => event ? [event.type, event.subtype].join(" ").trim() : kind))].sort();
console.log(`${calls.length} calls (${methods.join(", ")}), ${told.length} told (${kinds.join(", ")})`);
