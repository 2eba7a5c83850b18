// What went wrong, in words: the message, and each fault at its field.

import { make } from "./elements.js";

// Give what to show of an error of the API. `isListed`: the faults stand at the text already.
export function describeProblem(error, { isListed }) {
  const faults = error.faults || [];
  if (!faults.length) return [error.message];
  if (isListed) return [`Not run: ${faults.length} ${faults.length === 1 ? "fault" : "faults"}, listed at the text.`];
  // Its message sums up the faults; they say it themselves.
  const sum = faults.length > 1 ? `${faults.length} things are wrong.` : "It was not accepted.";
  return [sum, make("ul", {}, ...faults.map(faultItem))];
}

function faultItem({ path, message, accepted }) {
  const hint = accepted ? [make("span", { className: "accepted", textContent: ` (accepted: ${accepted})` })] : [];
  const field = make("code", { textContent: path || "request" });
  return make("li", {}, field, `: ${message.replace(/^is refused: /, "")}`, ...hint);
}
