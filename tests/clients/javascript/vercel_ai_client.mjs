// The Vercel AI SDK: text, a stream, an object of a schema, and a tool's whole round.
import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const provider = createOpenAICompatible({
  name: "enginehouse",
  baseURL: process.env.OPENAI_BASE_URL,
  apiKey: process.env.OPENAI_API_KEY,
  supportsStructuredOutputs: true,
});
const common = { model: provider(process.env.MODEL), maxRetries: 0, temperature: 0 };

const whole = await generateText({ ...common, prompt: "Tell me a story", maxOutputTokens: 12 });
assert.ok(whole.text);
let streamed = "";
for await (const piece of streamText({ ...common, prompt: "Tell me a story", maxOutputTokens: 12 }).textStream) {
  streamed += piece;
}
assert.ok(streamed);

const schema = z.object({ name: z.string().max(12), slices: z.int().min(1).max(20) });
const made = await generateObject({ ...common, schema, prompt: "A loaf, please", maxOutputTokens: 96 });
assert.ok(made.object.slices >= 1);

let used = 0;
const countSlices = tool({
  description: "Count a loaf's slices.",
  inputSchema: z.object({ loaf: z.int().min(0).max(9) }),
  execute: async () => {
    used += 1;
    return "";
  },
});
const agent = await generateText({
  ...common,
  prompt: "How many slices has the loaf?",
  tools: { countSlices },
  prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" }),
  stopWhen: stepCountIs(2),
  maxOutputTokens: 48,
});
assert.ok(used >= 1);
assert.equal(agent.steps.length, 2);
console.log("passed");
