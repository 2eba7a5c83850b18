// One execution, followed through every break: each event once, in order, up to its result.

import { API, ask } from "./api.js";

const EVENT_TYPES = [
  "execution_requested", "execution_queued", "execution_started", "pod_created", "pod_scheduled", "pod_running",
  "pod_terminated", "output", "output_truncated", "node_started", "node_completed", "node_failed", "node_skipped",
  "node_retrying", "node_waiting", "node_warned", "node_expanded", "node_output", "nodes_declared", "outputs_reported",
  "progress", "input_required", "input_received",
  "execution_paused", "execution_resumed", "stop_requested", "execution_completed", "execution_failed",
  "execution_timeout", "execution_cancelled", "execution_interrupted", "result_stored",
];

export class Follower {
  // speed: replays what has ended so many times as fast; long silences are cut to `idleLimit` seconds.
  constructor(id, { onEvent, onLink, speed = 0, idleLimit = 5 }) {
    this.id = id;
    this.rhythm = speed ? `&speed=${speed}&idle_limit_s=${idleLimit}` : "";
    this.onEvent = onEvent;
    this.onLink = onLink;
    this.lastSeq = 0;
    this.failures = 0;
    this.isOver = false;
    this.connect();
  }

  connect() {
    if (this.isOver) return;
    const source = new EventSource(`${API}/executions/${encodeURIComponent(this.id)}/stream?after=${this.lastSeq}${this.rhythm}`);
    this.source = source;
    source.onopen = () => this.onLink("live");
    source.onerror = () => {
      if (this.isOver || source !== this.source) return;
      this.onLink("reconnecting");
      // CONNECTING: the browser comes back by itself, after the last id. CLOSED: it was refused and will not.
      if (source.readyState === EventSource.CLOSED) this.reconnectLater();
    };
    source.addEventListener("evicted", () => this.reconnectLater());
    for (const type of EVENT_TYPES) source.addEventListener(type, (message) => this.take(source, message));
  }

  take(source, message) {
    if (source !== this.source || this.isOver) return;
    const event = JSON.parse(message.data);
    if (event.seq <= this.lastSeq) return;
    if (event.seq !== this.lastSeq + 1) { this.catchUp(event.seq); return; }
    this.accept(event);
  }

  accept(event) {
    this.lastSeq = event.seq;
    this.failures = 0;
    this.onEvent(event);
    if (event.type === "result_stored") this.close();
  }

  // An event of a type this page does not listen for: the journal itself has it.
  async catchUp(seq) {
    this.source.close();
    try {
      while (this.lastSeq < seq && !this.isOver) {
        const { items } = await ask(`/executions/${encodeURIComponent(this.id)}/events?after=${this.lastSeq}`);
        for (const event of items) if (event.seq === this.lastSeq + 1 && !this.isOver) this.accept(event);
      }
    } catch { this.reconnectLater(); return; }
    this.connect();
  }

  async reconnectLater() {
    this.source.close();
    this.onLink("reconnecting");
    const wait = Math.min(5000, 250 * 2 ** this.failures) * (0.5 + Math.random() / 2);
    this.failures += 1;
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (this.isOver) return;
    try {
      await ask(`/executions/${encodeURIComponent(this.id)}`);
    } catch (error) {
      // Refused for good: EventSource cannot say why, this can.
      if (error.status === 401 || error.status === 403 || error.status === 404) {
        this.close();
        this.onLink("refused", error);
        return;
      }
    }
    this.connect();
  }

  close() {
    this.isOver = true;
    this.source.close();
    this.onLink("ended");
  }
}
