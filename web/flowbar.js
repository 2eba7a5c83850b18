// What a run of a flow may say beside its config: the environment, where it starts, values of variables; and what it can be kept as.

import { ask } from "./api.js";
import { download, make } from "./elements.js";
import { looksSecret } from "./flows.js";

const COMMON = "_common";
const READ = /\{\{\s*\.vars\.([A-Za-z0-9_]+)\s*\}\}/g;
const MAX_STEPS = 2000; // in the chooser
const TARGETS = { postman: "Postman collection", "postman-environment": "Postman environment", curl: "curl script", json: "JSON" };

export class FlowBar {
  constructor(element, { onProblem, onNotes }) {
    this.element = element;
    this.onProblem = onProblem;
    this.onNotes = onNotes;
    this.environment = make("select", { id: "environment" });
    this.start = make("select", { id: "start-step" });
    this.keep = make("select", { id: "keep-as", ariaLabel: "Download as" }, new Option("Download as", ""), ...Object.entries(TARGETS).map(([value, label]) => new Option(label, value)));
    this.keep.setAttribute("aria-label", "Download as");
    this.keep.onchange = () => this.export();
    this.variables = make("div", { className: "variables" });
    this.environmentLabel = make("label", { className: "choice" }, "Environment", this.environment);
    this.startLabel = make("label", { className: "choice" }, "Start at", this.start);
    this.details = make("details", { className: "values" }, make("summary", { textContent: "Variables" }), this.variables);
    element.replaceChildren(this.environmentLabel, this.startLabel, this.details, make("span", { className: "spring" }), this.keep);
    this.show(null);
  }

  // The config as it was read last; null where there is none.
  show(config) {
    this.config = config;
    this.element.hidden = !config;
    if (!config) return;
    this.showEnvironments(config);
    this.showSteps(config);
    this.showVariables(config);
  }

  showEnvironments({ environments, environment }) {
    const names = Object.keys(isObject(environments) ? environments : {}).filter((name) => name !== COMMON);
    this.environmentLabel.hidden = !names.length;
    refill(this.environment, ["", ...names].map((name) => [name, name || (environment ? `as written (${environment})` : "none")]));
  }

  showSteps({ nodes, startStep }) {
    const steps = (Array.isArray(nodes) ? nodes : []).slice(0, MAX_STEPS);
    this.startLabel.hidden = steps.length < 2;
    const written = Number.isInteger(startStep) && startStep > 0 ? `as written (${startStep + 1})` : "the first step";
    refill(this.start, [["", written], ...steps.map((step, index) => [String(index), `${index + 1} · ${step?.name || step?.id || "step"}`])]);
  }

  showVariables(config) {
    const written = isObject(config.variables) ? config.variables : {};
    const read = [...JSON.stringify(config).matchAll(READ)].map(([, name]) => name);
    const names = [...new Set([...Object.keys(written), ...read])];
    this.details.hidden = !names.length;
    const shape = JSON.stringify(names.map((name) => [name, written[name]]));
    if (shape === this.shape) return; // whoever types in one keeps it
    const typed = new Map([...this.variables.querySelectorAll("input")].map((input) => [input.name, input.value]));
    this.shape = shape;
    this.variables.replaceChildren(...names.map((name) => {
      const input = make("input", { name, type: looksSecret(name) ? "password" : "text", autocomplete: "off", spellcheck: false, value: typed.get(name) ?? "" });
      input.placeholder = name in written ? (looksSecret(name) ? "as written" : String(written[name])) : "not set";
      return make("label", {}, make("code", { textContent: name }), input);
    }));
  }

  // What the run says; a variable that is a number or a boolean stays one where its new value can be.
  members() {
    if (!this.config) return {};
    const members = {};
    if (this.environment.value && !this.environmentLabel.hidden) members.environment = this.environment.value;
    if (this.start.value && !this.startLabel.hidden) members.startStep = Number(this.start.value);
    const typed = [...this.variables.querySelectorAll("input")].filter(({ value }) => value !== "");
    if (!typed.length) return members;
    const given = isObject(this.config.input) ? this.config.input : {};
    members.input = { ...given, ...Object.fromEntries(typed.map(({ name, value }) => [name, asWritten(value, this.config.variables?.[name])])) };
    return members;
  }

  async export() {
    const target = this.keep.value;
    this.keep.value = "";
    if (!target || !this.config) return;
    const flow = { ...this.config, ...this.members(), kind: "flow" };
    try {
      if (target === "json") { download(`${flow.name || "flow"}.json`, `${JSON.stringify(flow, null, 2)}\n`); return; }
      const { file_name: name, text, notes } = await ask("/export", { method: "POST", body: { flow, target } });
      download(name, text);
      this.onNotes(`${name}`, notes);
    } catch (error) {
      this.onProblem(error);
    }
  }
}

function refill(select, options) {
  const shape = JSON.stringify(options);
  if (select.dataset.shape === shape) return;
  const chosen = select.value;
  select.dataset.shape = shape;
  select.replaceChildren(...options.map(([value, label]) => new Option(label, value)));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
}

function asWritten(text, written) {
  if (typeof written !== "number" && typeof written !== "boolean") return text;
  try {
    const value = JSON.parse(text);
    return typeof value === "number" || typeof value === "boolean" ? value : text;
  } catch {
    return text;
  }
}

function isObject(value) {
  return Boolean(value) && typeof value === "object" && !Array.isArray(value);
}
