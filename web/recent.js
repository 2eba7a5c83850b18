// The list of runs beside: the newest first, the one that is shown marked.

import { ask } from "./api.js";
import { make } from "./elements.js";
import { formatWhen } from "./words.js";

const SHOWN = 30;
const MOST = 200; // one page of the API

export class RecentList {
  // `list`, `empty` and `older` are its elements; `currentId` says what is shown now.
  constructor({ list, empty, older, currentId }) {
    Object.assign(this, { list, empty, older, currentId, count: SHOWN });
    older.onclick = () => { this.count += SHOWN; this.refresh(); };
  }

  async refresh() {
    try {
      const { items, next_cursor: cursor } = await ask(`/executions?limit=${Math.min(this.count, MOST)}`);
      this.older.hidden = !cursor || this.count >= MOST;
      this.list.replaceChildren(...items.map(recentItem));
      this.empty.hidden = items.length > 0;
      this.mark();
    } catch { /* the next round may do better; what matters is said by the stream */ }
  }

  mark() {
    const current = `#${this.currentId()}`;
    for (const link of this.list.querySelectorAll("a")) link.setAttribute("aria-current", String(link.hash === current));
  }
}

function recentItem({ id, name, status, created_at: createdAt }) {
  const dot = make("span", { className: "dot" });
  dot.dataset.status = status;
  const parts = [
    dot,
    make("span", { className: "name", textContent: name || id }),
    make("span", { className: "when", textContent: formatWhen(createdAt) }),
    make("span", { className: "hidden-label", textContent: status }),
  ];
  return make("li", {}, make("a", { href: `#${id}`, title: `${name}: ${status}` }, ...parts));
}
