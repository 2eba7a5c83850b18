// What a program wrote: appended once per frame, a bounded tail of it kept, and shown through textContent only.

const TAIL_CHARS = 1024 * 1024; // shown at most; the whole is a link away
const PIECE_CHARS = 16 * 1024; // one span, so that the oldest can be dropped without cutting much

export class OutputPane {
  constructor(element, onCut, tailChars = TAIL_CHARS) {
    this.element = element;
    this.tailChars = tailChars;
    this.onCut = onCut;
    this.clear();
  }

  clear() {
    this.pending = [];
    this.pendingChars = 0;
    this.shownChars = 0;
    this.isCut = false;
    this.decoders = {};
    this.element.replaceChildren();
  }

  addOutput({ stream, text, base64 }) {
    if (base64 !== undefined) {
      this.decoders[stream] ||= new TextDecoder();
      const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
      text = this.decoders[stream].decode(bytes, { stream: true });
    }
    // Colours and cursor movements of terminals mean nothing here.
    this.add(stream, text.replace(/\x1b\[[0-9;?]*[ -/]*[@-~]/g, "").replace(/\r\n/g, "\n"));
  }

  add(kind, text) {
    if (!text) return;
    const last = this.pending.at(-1);
    if (last?.kind === kind && last.text.length + text.length <= PIECE_CHARS) last.text += text;
    else this.pending.push({ kind, text });
    this.pendingChars += text.length;
    // A hidden tab has no frames: what waits is bounded like what is shown.
    while (this.pendingChars > this.tailChars && this.pending.length > 1) {
      this.pendingChars -= this.pending.shift().text.length;
      this.noteCut();
    }
    this.frame ||= requestAnimationFrame(() => this.flush());
  }

  flush() {
    this.frame = undefined;
    const { element } = this;
    const follows = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
    const fragment = document.createDocumentFragment();
    for (const { kind, text } of this.pending) {
      const span = document.createElement("span");
      span.className = kind;
      span.textContent = text;
      fragment.append(span);
    }
    element.append(fragment);
    this.shownChars += this.pendingChars;
    this.pending = [];
    this.pendingChars = 0;
    while (this.shownChars > this.tailChars && element.childNodes.length > 1) {
      this.shownChars -= element.firstChild.textContent.length;
      element.firstChild.remove();
      this.noteCut();
    }
    if (follows) element.scrollTop = element.scrollHeight;
  }

  noteCut() {
    if (this.isCut) return;
    this.isCut = true;
    this.onCut();
  }
}
