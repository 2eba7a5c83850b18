// What was run, as the editor takes it again.

import { ask } from "./api.js";
import { FLOW, WORKFLOW } from "./editor.js";

// Of a record of the API; null where nobody can say. A compiled workflow cannot be turned back: its definition has its text.
export async function documentOf({ kind, name, spec, definition, definition_version: version }) {
  if (kind === FLOW && spec?.config) {
    const run = { ...(spec.start_step ? { startStep: spec.start_step } : {}), ...(spec.input ? { input: spec.input } : {}) };
    return { language: FLOW, source: JSON.stringify({ kind: FLOW, name, ...spec.config, ...run }, null, 2) };
  }
  if (kind !== "script" && definition) {
    const source = await ask(`/definitions/${encodeURIComponent(definition)}/export?format=yaml&version=${version}`, { isText: true });
    return { language: WORKFLOW, source };
  }
  return spec?.source === undefined ? null : { language: spec.language, source: spec.source };
}
