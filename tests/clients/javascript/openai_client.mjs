// The `openai` package for JavaScript: complete, stream, a tool, a Zod schema, and errors that it can show.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const model = process.env.MODEL;
const messages = [{ role: "user", content: "Tell me a story" }];
const client = new OpenAI({ maxRetries: 0, timeout: 120_000 });

const whole = await client.chat.completions.create({ model, messages, max_tokens: 12 });
assert.ok(whole.choices[0].message.content);
assert.ok(whole._request_id);

let streamed = "";
for await (const chunk of await client.chat.completions.create({ model, messages, max_tokens: 12, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
assert.ok(streamed);

const Loaf = z.object({ name: z.string().max(12), slices: z.int().min(1), seeds: z.int() });
const typed = await client.chat.completions.parse({
  model, messages, max_tokens: 96, temperature: 0, response_format: zodResponseFormat(Loaf, "loaf"),
});
assert.ok(typed.choices[0].message.parsed.slices >= 1);

const parameters = { type: "object", properties: { loaf: { type: "integer" } }, required: ["loaf"] };
const tools = [{ type: "function", function: { name: "count_slices", parameters } }];
const called = await client.chat.completions.create({
  model, messages, max_tokens: 48, tools, tool_choice: "required", stream: true,
});
const first = await (async () => {
  let opening;
  for await (const chunk of called) opening ??= chunk.choices[0]?.delta;
  return opening;
})();
assert.equal(first.content ?? null, null);

await assert.rejects(client.responses.create({ model, input: "Hello" }), (error) => {
  assert.ok(error instanceof OpenAI.NotFoundError);
  assert.match(error.message, /\/v1\/chat\/completions/);
  return true;
});
const broken = [{ type: "function", function: { name: "f", parameters: { type: "no-such-type" } } }];
await assert.rejects(client.chat.completions.create({ model, messages, tools: broken, tool_choice: "required" }), (error) => {
  assert.ok(error instanceof OpenAI.BadRequestError);
  assert.match(error.param, /^tools\[0\]\.function\.parameters/);
  return true;
});
console.log("passed");
