// Compiled, never run: what the OpenAPI document says of answers must be known to TypeScript.
import type { paths } from "./schema";

type Answer<P extends keyof paths, M extends "get" | "post"> = paths[P] extends {
  [K in M]: { responses: { 200: { content: { "application/json": infer A } } } };
}
  ? A
  : never;
type Known<T> = unknown extends T ? false : [T] extends [never] ? false : true;

const chat: Known<Answer<"/v1/chat/completions", "post">> = true;
const embeddings: Known<Answer<"/v1/embeddings", "post">> = true;
const models: Known<Answer<"/v1/models", "get">> = true;
const text = (answer: Answer<"/v1/chat/completions", "post">): string | null | undefined =>
  answer.choices?.[0]?.message?.content;
export { chat, embeddings, models, text };
