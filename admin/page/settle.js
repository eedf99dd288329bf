// What is done about dead letters, by somebody who was asked: their replay and their dismissal.

import { ask } from "./ask.js";
import { byId, make, mark, shellWord, tell } from "./words.js";

/** What can be done, in the words of the dialog and of what is told. */
export const REPLAY = {
  name: "replay", done: "replayed", asking: "Asking what a replay would do…", doing: "Replaying…", yes: "Replay them",
  meaning: "Their records are published again to the topics they came from. Events take effect once, however often they are sent.",
};
export const DISMISS = {
  name: "dismiss", done: "dismissed", asking: "Asking what a dismissal would do…", doing: "Dismissing…", yes: "Dismiss them",
  meaning: "They are marked as letters that nothing will be done about, with the reason. A replay leaves them alone, unless it names one of them.",
};

let isSettling = false;

/** What would happen first, then the question, then the deed; `after` it, what is shown is old. */
export async function settle(deed, meant, after) {
  if (isSettling) return;
  isSettling = true;
  await settleOnce(deed, meant, byId("settle-told"), after);
  isSettling = false;
}

async function settleOnce(deed, meant, told, after) {
  const filters = Object.fromEntries(Object.entries(meant).filter(([, value]) => value));
  const isSet = Object.keys(filters).length > 0 ? filters : { all: true };
  mark(told, "data-state", "asked");
  tell(told, deed.asking);
  try {
    // a reason is wanted of a dry run as well, and kept nowhere
    const dry = await post(deed, { ...isSet, ...(deed === DISMISS && { because: "dry run" }), dryRun: true });
    tell(told, dry.detail);
    if (!(dry[deed.done] > 0)) return mark(told, "data-state", "nothing");
    const because = await confirmed(deed, isSet, dry.detail);
    if (because === null) {
      mark(told, "data-state", "left");
      return tell(told, `${dry.detail.replace(/\.$/, "")}. Nothing was ${deed.done}.`);
    }
    mark(told, "data-state", "settling");
    tell(told, deed.doing);
    const done = await post(deed, { ...isSet, ...(deed === DISMISS && { because }), dryRun: false });
    tell(told, done.detail);
    mark(told, "data-state", "done");
    after();
  } catch (refusal) {
    mark(told, "data-state", "refused");
    if (![403, 404, 405].includes(refusal.status)) return tell(told, refusal.message ?? String(refusal));
    const options = Object.entries(isSet).map(([name, value]) => (value === true ? `--${name}` : `--${name} ${shellWord(value)}`));
    const command = [`floodgate dlq ${deed.name}`, ...options, "--dry-run"].join(" ");
    const why = refusal.status === 403 ? refusal.message.replace(/\.$/, "") : `This process does not ${deed.name}`;
    told.replaceChildren(`${why}. From the command line: `, make("code", {}, command));
  }
}

const post = ({ name }, body) => ask(`/dlq/${name}`, {
  method: "POST",
  // pages of others cannot send this header without being asked, and they are not
  headers: { "content-type": "application/json", "floodgate-confirm": name },
  body: JSON.stringify(body),
});

/** Why, which a replay need not say; null if not. */
function confirmed(deed, { type, reason, origin }, sentence) {
  const dialog = byId("confirm");
  const because = byId("confirm-because");
  const of = [type && `of type ${type}`, reason && `with the reason ${reason}`, origin && `of ${origin}`].filter(Boolean).join(", ");
  tell(byId("confirm-title"), `${deed.yes.replace("them", "dead letters")}?`);
  tell(byId("confirm-what"), of ? `Meant are dead letters ${of}.` : "All dead letters are meant.");
  tell(byId("confirm-dry"), sentence);
  tell(byId("confirm-meaning"), deed.meaning);
  tell(byId("confirm-yes"), deed.yes);
  byId("confirm-why").hidden = deed !== DISMISS;
  because.required = deed === DISMISS;
  because.value = "";
  return new Promise((resolve) => {
    let answer = null;
    const leave = new AbortController();
    const { signal } = leave;
    byId("confirm-form").addEventListener("submit", (event) => {
      event.preventDefault();
      answer = because.value.trim();
      dialog.close();
    }, { signal });
    byId("confirm-no").addEventListener("click", () => dialog.close(), { signal });
    dialog.addEventListener("close", () => {
      leave.abort();
      resolve(answer);
    }, { signal });
    dialog.showModal();
  });
}
