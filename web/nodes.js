// The nodes of a workflow as a tree: how each stands, how long it takes, what it gave and why it failed, and what it asks.
// Text of a workflow or its programs is shown through textContent only.

import { make } from "./elements.js";
import { describeStep, looksSecret, reasonLines, recordOf, statusOf, summaryOf, withoutSecrets } from "./flows.js";
import { OutputPane } from "./output.js";
import { formatSeconds } from "./words.js";

const MAX_SHOWN = 3000; // a map over ten thousand items would freeze the page; what fails or asks is always shown
const TAIL_CHARS = 64 * 1024; // of one node's output
const VALUE_CHARS = 4000;
const ACTIVE = new Set(["running", "retrying", "waiting", "asking"]);
const SKIPPED = { not_run: "", branch_not_taken: "branch not taken", skipped_by_engine: "" };
const WORDS = { not_run: "not run", cut_short: "cut short", asking: "waits for an answer", waiting: "waits" };

class NodeItem {
  constructor(id, tree) {
    this.id = id;
    this.tree = tree;
    this.mark = make("span", { className: "mark", ariaHidden: "true" });
    this.name = make("span", { className: "node-name", textContent: id.split("/").at(-1).replace(/\.prompts$/, " asks") });
    this.state = make("span", { className: "node-state" });
    this.time = make("span", { className: "node-time" });
    this.from = make("button", { type: "button", className: "from", textContent: "From here", hidden: true });
    this.from.title = `Run again from ${id}: what comes before keeps what it gave`;
    this.from.onclick = () => tree.onRetry(id);
    this.head = make("div", { className: "node-head" }, this.mark, this.name, this.state, this.from, this.time);
    this.reason = make("p", { className: "reason", hidden: true });
    this.summary = make("summary", { textContent: "output" });
    this.text = make("pre", { className: "output" });
    this.details = make("details", { hidden: true }, this.summary, this.text);
    this.body = make("ol");
    this.element = make("li", {}, this.head, this.reason, this.details, this.body);
    this.element.dataset.node = id;
    this.element.hidden = id.endsWith("/row.end"); // the end of a row of data says nothing
    this.label = "";
    this.setStatus("pending");
  }

  setStatus(status, detail = "") {
    this.status = status;
    this.element.dataset.status = status;
    this.tree.noteActive(this, ACTIVE.has(status));
    this.detail = detail;
    this.sayState();
  }

  sayState() {
    // Once it is known what was requested, that says more than what was written.
    const label = this.hasRecord && /^(GET|POST|PUT|DELETE|PATCH|HEAD|OPTIONS) \S+( \S+)*$/.test(this.label) && /[/:]/.test(this.label) ? "" : this.label;
    this.state.textContent = [label, this.detail || WORDS[this.status] || this.status].filter(Boolean).join(" · ");
  }

  start({ label, type }, attempt, at) {
    this.attempt = attempt;
    this.label = label === this.id.split("/").at(-1) || this.id.endsWith(".prompts") ? "" : label;
    this.type = type;
    this.startedAt = at;
    this.until = null;
    this.setStatus("running", attempt > 1 ? `running, attempt ${attempt}` : "");
  }

  end(status, milliseconds, detail) {
    this.startedAt = null;
    this.until = null;
    this.time.textContent = milliseconds === undefined ? "" : formatSeconds(milliseconds);
    this.closeQuestion();
    this.setStatus(status, detail);
  }

  fail(error) {
    const record = recordOf(error);
    this.reason.textContent = record ? reasonLines(error.message) : `${error.message} (${error.code})`;
    this.reason.hidden = false;
    if (record) this.giveStep(record);
  }

  pane() {
    if (!this.output) {
      this.output = new OutputPane(this.text, () => { this.summary.textContent = "output, the end of it"; }, TAIL_CHARS);
      this.details.hidden = false;
      this.details.open = true;
    }
    return this.output;
  }

  give(value) {
    if (value === undefined || value === null) return;
    // What a script wrote stands there already; its result is the news.
    if (this.type === "script" && typeof value === "object" && "result" in value) value = value.result;
    if (value === undefined || value === null || this.output) return;
    const record = this.type === "flow_step" && recordOf(value);
    if (record) { this.giveStep(record); return; }
    if (this.id.endsWith(".prompts")) value = withoutSecrets(value);
    if (this.type === "flow_rows" && Array.isArray(value)) { this.sayRows(value); return; }
    const text = JSON.stringify(value, null, 1);
    this.text.textContent = text.length > VALUE_CHARS ? `${text.slice(0, VALUE_CHARS)} …` : text;
    const line = JSON.stringify(value);
    this.summary.textContent = line.length > 90 ? `${line.slice(0, 90)} …` : line;
    this.details.hidden = false;
  }

  sayRows(rows) {
    const passed = rows.filter((row) => row?.status === "completed").length;
    this.detail = `${passed} of ${rows.length} ${rows.length === 1 ? "row" : "rows"} passed`;
    this.sayState();
  }

  say(text) {
    this.reason.textContent = text;
    this.reason.hidden = false;
  }

  // What a step of a flow was answered with, for its line.
  briefOf(value) {
    const record = this.type === "flow_step" && recordOf(value);
    return record ? [statusOf(record), this.attempt > 1 ? `attempt ${this.attempt}` : ""].filter(Boolean).join(", ") : "";
  }

  // A step of a flow: one line of it, and behind that all that is kept.
  giveStep(record) {
    this.summary.textContent = summaryOf(record);
    this.hasRecord = true;
    this.sayState();
    // Most are never opened: what is in one is made when it is.
    const parts = make("div", { className: "step" });
    this.text.replaceWith(parts);
    this.text = parts;
    const fill = () => { if (this.details.open && this.text === parts && !parts.firstChild) parts.append(...describeStep(record)); };
    this.details.ontoggle = fill;
    this.details.hidden = false;
    fill();
  }

  // --- questions

  ask({ prompt_id: promptId, prompts, expires_at: expiresAt, is_open: isOpen = false }) {
    // A flow takes every answer, an empty one too, and one may be secret by its name alone.
    if (isOpen) prompts = prompts.map((prompt) => ({ ...prompt, secret: prompt.secret || looksSecret(prompt.key) }));
    this.until = expiresAt ? Date.parse(expiresAt) : null;
    this.setStatus("asking");
    const form = make("form", { className: "question" });
    form.setAttribute("aria-label", this.name.textContent);
    const isOneChoice = prompts.length === 1 && prompts[0].choices?.length;
    const answer = async (values) => {
      for (const button of form.querySelectorAll("button")) button.disabled = true;
      await this.tree.onAnswer(promptId, values);
      for (const button of form.querySelectorAll("button")) button.disabled = false;
    };
    if (isOneChoice) {
      const [prompt] = prompts;
      form.append(make("p", { textContent: prompt.label }));
      for (const choice of prompt.choices) {
        const button = make("button", { type: "button", textContent: choice });
        if (choice === prompt.default) button.className = "primary";
        button.onclick = () => answer({ [prompt.key]: choice });
        form.append(button);
      }
    } else {
      for (const prompt of prompts) form.append(this.field(prompt));
      form.append(make("button", { type: "submit", className: "primary", textContent: "Answer" }));
    }
    if (isOpen) for (const input of form.querySelectorAll("input")) input.required = false;
    form.onsubmit = (event) => {
      event.preventDefault();
      if (!isOneChoice) answer(Object.fromEntries(new FormData(form)));
    };
    this.closeQuestion();
    this.question = form;
    this.details.before(form);
    this.tree.onAsked(form);
  }

  field({ key, label, choices = [], default: preset, secret = false }) {
    const control = choices.length
      ? make("select", { name: key }, ...choices.map((choice) => new Option(choice, choice)))
      : make("input", {
          name: key,
          type: secret ? "password" : "text",
          autocomplete: secret ? "new-password" : "off",
          required: preset === undefined,
        });
    if (preset !== undefined) control.value = preset;
    return make("label", {}, make("span", { textContent: label }), control);
  }

  closeQuestion() {
    this.question?.remove();
    this.question = null;
  }

  tick(now) {
    if (this.until) this.time.textContent = `${formatSeconds(Math.max(0, this.until - now))} left`;
    else if (this.startedAt) this.time.textContent = formatSeconds(Math.max(0, now - this.startedAt));
  }
}

export class NodeTree {
  constructor(element, { onAnswer, onRetry, onAsked }) {
    this.element = element;
    this.onAnswer = onAnswer;
    this.onRetry = onRetry;
    this.onAsked = onAsked;
    // Whoever looks around is not carried away to what runs now.
    for (const type of ["wheel", "touchmove", "keydown", "pointerdown"]) {
      element.addEventListener(type, () => { this.isFollowing = false; }, { passive: true });
    }
    this.clear();
  }

  clear() {
    this.items = new Map();
    this.active = new Set();
    this.hiddenNote = null;
    this.skew = 0;
    this.isFollowing = true;
    this.element.replaceChildren();
  }

  // Puts the nodes in the order of their workflow, those that have not begun among them.
  arrange(nodes) {
    const { activeElement: held } = document; // what is moved loses the focus
    for (const { id, label, type, on_error: onError = "stop" } of nodes) {
      const item = this.find(id);
      if (!item) continue;
      item.mayFail = onError !== "stop";
      item.type ||= type;
      if (label !== id) item.label = label;
      if (item.status === "pending") item.setStatus("pending");
      this.element.append(item.element);
    }
    if (this.hiddenNote) this.element.append(this.hiddenNote);
    if (this.element.contains(held)) held.focus();
  }

  find(id, matters = false) {
    let item = this.items.get(id);
    if (item || !id) return item;
    if (this.items.size >= MAX_SHOWN && !matters) {
      if (!this.hiddenNote) {
        this.hiddenNote = make("li", { className: "hint", textContent: `Of the others only those that fail or ask are shown: there are more than ${MAX_SHOWN}.` });
        this.element.append(this.hiddenNote);
      }
      return null;
    }
    item = new NodeItem(id, this);
    this.items.set(id, item);
    this.place(item);
    return item;
  }

  place(item) {
    const cut = item.id.lastIndexOf("/");
    const around = cut < 0 ? "" : item.id.slice(0, cut);
    const index = /\[(\d+)\]$/.exec(around);
    const parent = around && this.find(index ? around.slice(0, index.index) : around);
    if (!parent) { this.element.append(item.element); return; }
    if (!index) { parent.body.append(item.element); return; }
    item.name.textContent = `[${index[1]}] ${item.id.slice(cut + 1)}`;
    item.index = Number(index[1]);
    // Items begin in any order and are shown in theirs.
    let before = parent.body.lastElementChild;
    while (before && this.items.get(before.dataset.node).index > item.index) before = before.previousElementSibling;
    if (before) before.after(item.element);
    else parent.body.prepend(item.element);
  }

  noteActive(item, isActive) {
    if (isActive) this.active.add(item);
    else this.active.delete(item);
  }

  get isAsking() {
    return [...this.active].some((item) => item.status === "asking");
  }

  get waitsForPeople() {
    const items = [...this.active];
    return items.length > 0 && items.every((item) => item.status === "asking");
  }

  // What was asked in a replay has been answered, or not, for good.
  closeQuestions() {
    for (const control of this.element.querySelectorAll(".question :is(button, input, select)")) control.disabled = true;
  }

  // True where the event was a node's.
  show({ type, node, attempt, data, at }) {
    if (node === undefined) return false;
    const item = this.find(node, type === "node_failed" || type === "input_required");
    if (!item) return true;
    const when = Date.parse(at) + this.skew;
    switch (type) {
      case "node_started": item.start(data, attempt, when); this.follow(item); break;
      case "node_expanded": if (data.is_map) item.setStatus("running", `${data.items.length} items, ${data.concurrency} at a time`); break;
      case "node_waiting": item.until = Date.parse(data.until) + this.skew; item.setStatus("waiting"); break;
      case "node_retrying":
        item.fail(data.error);
        item.until = Date.parse(data.retry_at) + this.skew;
        item.setStatus("retrying", `attempt ${attempt ?? 1} failed, tries again`);
        break;
      case "node_completed":
        item.reason.hidden = true;
        item.end("completed", data.pinned ? undefined : data.duration_ms, data.pinned ? "kept from before" : data.port ? `took ${data.port}` : item.briefOf(data.output));
        item.give(data.output);
        if (item.output) item.details.open = false;
        break;
      case "node_failed":
        // What the end of the whole cut short has not failed by itself.
        item.end(data.error.code === "cut_short" ? "cut_short" : "failed", data.duration_ms, item.briefOf(data.error));
        if (item.status === "failed") item.fail(data.error);
        break;
      case "node_skipped": 
        item.end(data.reason === "not_run" ? "not_run" : "skipped", undefined, SKIPPED[data.reason] ?? "");
        if (!(data.reason in SKIPPED)) item.say(data.reason);
        break;
      case "input_required": item.ask(data); break;
      case "input_received": item.closeQuestion(); item.setStatus("running", `answered by ${data.by}`); break;
      case "output": item.pane().addOutput(data); break;
      case "node_output": if (typeof data.delta === "string") item.pane().add("stdout", data.delta); break;
      case "output_truncated": item.pane().add("end", `${data.stream} reached its limit\n`); break;
      default: return true;
    }
    return true;
  }

  // Keeps what runs in sight, once per frame, as output is.
  follow(item) {
    if (!this.isFollowing) return;
    this.newest = item;
    this.frame ||= requestAnimationFrame(() => {
      this.frame = undefined;
      const { element: list } = this;
      const head = this.newest.head.getBoundingClientRect();
      const frame = list.getBoundingClientRect();
      if (this.isFollowing && head.bottom > frame.bottom - 8) list.scrollTop += head.bottom - frame.bottom + 72;
    });
  }

  // How the steps of a flow ended: those that people see as steps.
  counts() {
    const counts = { completed: 0, skipped: 0, failed: 0, not_run: 0, cut_short: 0 };
    for (const { id, type, status } of this.items.values()) {
      const isStep = type === "flow_step" || (!type && !/(\.prompts|\/row\.end)$/.test(id));
      if (isStep && status in counts) counts[status] += 1;
    }
    return counts;
  }

  // What can be run again is what the workflow itself names; inner nodes go with theirs.
  offerRetry(isOffered) {
    for (const item of this.items.values()) item.from.hidden = !isOffered || item.id.includes("/");
  }

  // Where there are many nodes, the one that failed the whole should not have to be looked for.
  reveal(nodes, error) {
    this.isFollowing = false;
    const failed = nodes.filter((node) => node.error?.message === error.message && node.error.code === error.code);
    const culprit = failed.find(({ id }) => !this.items.get(id)?.mayFail);
    this.items.get(culprit?.id)?.element.scrollIntoView({ block: "nearest" });
  }

  tick(now) {
    for (const item of this.active) item.tick(now);
  }
}
