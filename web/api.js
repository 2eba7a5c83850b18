// The public API as this page calls it.

export const API = "/api/v1";

export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the server answered ${status}`);
    this.status = status;
    this.faults = problem.errors || problem.faults || [];
  }
}

export async function ask(path, { method = "GET", body, text: raw, mediaType, isText = false, headers = {} } = {}) {
  const options = { method, headers: { Accept: "application/json", ...headers }, credentials: "same-origin" };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  if (raw !== undefined) {
    options.body = raw;
    options.headers["Content-Type"] = mediaType;
  }
  let response;
  try {
    response = await fetch(API + path, options);
  } catch {
    throw new Refusal(0, { detail: "The server does not answer. Is it running?" });
  }
  const text = await response.text();
  if (response.ok && isText) return text;
  if (response.ok) return text ? JSON.parse(text) : {};
  let problem = {};
  try { problem = JSON.parse(text); } catch { /* a proxy's page: the status says enough */ }
  throw new Refusal(response.status, problem);
}

export function randomKey() {
  const words = crypto.getRandomValues(new Uint32Array(4));
  return Array.from(words, (word) => word.toString(16).padStart(8, "0")).join("");
}
