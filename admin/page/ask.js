// Questions to the server that somebody asked for, and what it says when it cannot answer.

/** What the server said instead of an answer. */
export class Refusal extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** The JSON that a request is answered with; otherwise a [`Refusal`], with status 0 where there was no answer at all. */
export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The process does not answer.");
  }
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new Refusal(response.status, problem(body, response));
  if (body === null) throw new Refusal(response.status, "The answer cannot be read.");
  return body;
}

function problem(body, { status, statusText }) {
  const told = body?.detail ?? body?.title;
  if (!told) return `The answer was ${status} ${statusText}`.trimEnd() + ".";
  return body.title && body.detail ? `${body.title}: ${body.detail}` : told;
}

/** A query of what is chosen; plus signs are plus signs here, and a space is %20. */
export function query(parameters) {
  const chosen = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return chosen.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
}
