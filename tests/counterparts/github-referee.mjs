// Octokit drives a stand-in for GitHub, by the channel's own queries: each must be one of GitHub's published schema, and each
// answer must be one that this schema allows.
//
//   node github-referee.mjs NODE_MODULES URL TOKEN QUERIES
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const [modules, url, token, file] = process.argv.slice(2);
const require = createRequire(path.resolve(modules, "package.json"));
const { Octokit } = require("@octokit/rest");
const { buildSchema, execute, parse, validate } = require("graphql");

const sdl = readFileSync(path.join(modules, "@octokit/graphql-schema/schema.graphql"), "utf8");
// The published schema defines two fields twice.
const schema = buildSchema(sdl, { assumeValid: true, assumeValidSDL: true });
const queries = readFileSync(file, "utf8");
const document = parse(queries);
assert.deepEqual(validate(schema, document).map(String), [], "the queries are of GitHub's schema");

const octokit = new Octokit({ auth: token, baseUrl: url });
const plain = (value) => JSON.parse(JSON.stringify(value));
const asked = new Set();
async function ask(operationName, variables) {
  asked.add(operationName);
  // Octokit takes `query` and `operationName` as GitHub does.
  const data = await octokit.graphql({ query: queries, operationName, ...variables });
  const seen = execute({
    schema, document, operationName, variableValues: variables, rootValue: data, typeResolver: () => "DiscussionComment",
  });
  const { data: allowed, errors } = await seen;
  assert.deepEqual((errors ?? []).map(String), [], operationName);
  assert.deepEqual(plain(allowed), plain(data), operationName);
  return data;
}

const where = { owner: "Codertocat", name: "Hello-World", number: 90 };
const discussion = (await ask("Discussion", where)).repository.discussion.id;
const parent = "DC_a";
assert.equal((await ask("Parent", { id: parent })).node.replyTo, null);
const own = (await ask("AddComment", { discussion, parent, body: "hello" })).addDiscussionComment.comment.id;
await ask("AddComment", { discussion, parent: null, body: "hello" });
await ask("UpdateComment", { id: own, body: "better" });
await ask("React", { id: own, content: "HEART" });
const listed = (await ask("Comments", { ...where, before: null })).repository.discussion.comments.nodes;
assert.ok(listed.some((one) => one.replies.nodes.some((reply) => reply.id === own && reply.body === "better")));
await ask("DeleteComment", { id: own });
await assert.rejects(ask("DeleteComment", { id: own }), (error) => error.errors[0].type === "NOT_FOUND");
await ask("UpdateReview", { id: "PRR_1", body: "better" });
const all = document.definitions.filter((one) => one.kind === "OperationDefinition").map((one) => one.name.value);
assert.deepEqual(all.filter((name) => !asked.has(name)), [], "every query was asked");

const r = { owner: "Codertocat", repo: "Hello-World" };
const { data: me } = await octokit.users.getAuthenticated();
const { data: comment } = await octokit.issues.createComment({ ...r, issue_number: 1, body: "hello" });
assert.equal(comment.user.id, me.id);
await octokit.issues.updateComment({ ...r, comment_id: comment.id, body: "better" });
const { data: comments } = await octokit.issues.listComments({ ...r, issue_number: 1 });
assert.ok(comments.some((one) => one.id === comment.id && one.body === "better"));
for (const content of ["+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"]) {
  await octokit.reactions.createForIssueComment({ ...r, comment_id: comment.id, content });
}
await octokit.reactions.createForIssue({ ...r, issue_number: 1, content: "eyes" });
await assert.rejects(octokit.reactions.createForIssue({ ...r, issue_number: 1, content: "pizza" }), { status: 422 });
const reply = await octokit.pulls.createReplyForReviewComment({ ...r, pull_number: 2, comment_id: 3, body: "hello" });
await octokit.reactions.createForPullRequestReviewComment({ ...r, comment_id: reply.data.id, content: "rocket" });
await octokit.pulls.deleteReviewComment({ ...r, comment_id: reply.data.id });
await octokit.issues.deleteComment({ ...r, comment_id: comment.id });
await assert.rejects(octokit.issues.deleteComment({ ...r, comment_id: comment.id }), { status: 404 });
const tooLong = octokit.issues.createComment({ ...r, issue_number: 1, body: "x".repeat(65_537) });
await assert.rejects(tooLong, { status: 422 });
await assert.rejects(new Octokit({ auth: "ghp_wrong", baseUrl: url }).users.getAuthenticated(), { status: 401 });
console.log("OK");
