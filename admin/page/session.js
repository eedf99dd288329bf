// The session that this page was opened with, where a token is asked for.

import { byId } from "./words.js";

const hasSession = "session" in document.body.dataset;

/** Leads to the form once the session is over: there is no news without one. */
export async function signInAgain() {
  if (!hasSession) return;
  const { status } = await fetch("/session", { cache: "no-store" }).catch(() => ({ status: 0 }));
  if (status === 401) location.reload();
}

export function watchSignOut() {
  byId("sign-out").addEventListener("click", async () => {
    await fetch("/session", { method: "DELETE" }).catch(() => null);
    location.reload();
  });
}
