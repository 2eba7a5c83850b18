// Signing in with a token, and out again: the form in place of the page.

import { ask } from "./api.js";

const at = (id) => document.getElementById(id);

export class Session {
  // `onIn` loads the page, and is waited for; `onOut` empties it.
  constructor({ onIn, onOut, onProblem }) {
    Object.assign(this, { onIn, onOut, onProblem });
    at("sign-in").onsubmit = (event) => { event.preventDefault(); this.signIn(at("token").value.trim()); };
    at("sign-out").onclick = () => this.signOut();
  }

  showForm() { this.show(false); at("token").focus(); }

  showPage() { this.show(true); }

  show(isIn) {
    for (const name of ["app", "sign-out"]) at(name).hidden = !isIn;
    at("sign-in").hidden = isIn;
  }

  async signIn(token) {
    at("sign-in-error").textContent = "";
    try {
      await ask("/session", { method: "POST", body: { token } });
      at("token").value = "";
      await this.onIn();
    } catch (error) {
      this.showForm();
      at("sign-in-error").textContent = error.status === 401 ? "This token is not valid here." : error.message;
    }
  }

  async signOut() {
    try { await ask("/session", { method: "DELETE" }); } catch (error) { this.onProblem(error); return; }
    this.onOut();
    history.replaceState(null, "", location.pathname);
    this.showForm();
  }
}
