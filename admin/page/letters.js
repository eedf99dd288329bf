// Dead letters: how many there are and why, the newest of them, and their replay.

import { ask, query } from "./ask.js";
import { byId, count, escaped, isKnown, make, many, mark, shellWord, stamp, tell } from "./words.js";
import { lookFor } from "./where.js";

/** A reading goes through the whole topic, so that it is made when somebody asks, and not with every snapshot. */
const LIMIT = 50;

let isReading = false;
let isReplaying = false;

const chosen = () => ({ type: byId("letters-type").value, reason: byId("letters-reason").value });

export function watchLetters() {
  byId("letters-form").addEventListener("submit", (event) => {
    event.preventDefault();
    read();
  });
  byId("letters-type").addEventListener("change", read);
  byId("letters-reason").addEventListener("change", read);
  byId("replay").addEventListener("click", () => replay(chosen()));
  const first = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    first.disconnect();
    read();
  });
  first.observe(byId("letters"));
}

async function read() {
  // what was chosen meanwhile is read after it
  if (isReading) return;
  isReading = true;
  const part = byId("letters");
  mark(part, "aria-busy", "true");
  const meant = chosen();
  tell(byId("letters-count"), "Reading…");
  try {
    show(await ask(`/dlq?${query({ limit: LIMIT, ...meant })}`), meant);
    mark(part, "data-read", "yes");
  } catch (refusal) {
    byId("letters-reasons").replaceChildren();
    byId("letters-notes").replaceChildren();
    byId("letters-table").hidden = true;
    tell(byId("letters-count"), refusal.message);
    mark(part, "data-read", "refused");
  }
  isReading = false;
  mark(part, "aria-busy", null);
  if (query(chosen()) !== query(meant)) read();
}

function show(survey, meant) {
  const { total, open, replayed, dismissed, byReason, letters, unreadable, unread, asOf } = survey;
  mark(byId("letters"), "data-total", total);
  const of = [meant.type, meant.reason].filter(Boolean).join(", ");
  const shown = survey.truncated ? ` ${letters.length} are shown.` : "";
  tell(byId("letters-count"), `${many(total, "dead letter")}${of && ` of ${of}`}, ${count(open)} of them open, ${count(replayed)} replayed, ${count(dismissed)} dismissed, read at ${stamp(asOf)}.${shown}`);
  const reasons = Object.entries(byReason).sort(([, one], [, other]) => other - one);
  byId("letters-reasons").replaceChildren(...reasons.map(([reason, number]) =>
    make("li", { "data-reason": reason, "data-count": number }, make("code", {}, reason), " ", make("b", {}, count(number)))));
  offer(reasons.map(([reason]) => reason));
  const notes = unread.map(({ partition, fromOffset, untilOffset, reason }) =>
    `Partition ${partition}${isKnown(fromOffset) ? ` from offset ${fromOffset} up to ${untilOffset}` : ""} could not be read: ${reason}. There may be more letters in it.`);
  if (unreadable > 0) notes.push(`${many(unreadable, "record")} on the topic are no dead letters of Floodgate's.`);
  byId("letters-notes").replaceChildren(...notes.map((note) => make("li", {}, note)));
  byId("letters-table").hidden = letters.length === 0;
  byId("letter-rows").replaceChildren(...letters.flatMap(row));
}

/** Reasons that were seen stay in the list, also when what is chosen has none of them. */
function offer(reasons) {
  const list = byId("letters-reason");
  const there = new Set([...list.options].map((option) => option.value));
  list.append(...reasons.filter((reason) => !there.has(reason)).sort().map((reason) => make("option", { value: reason }, reason)));
}

const keyOf = ({ key }) => (isKnown(key) ? escaped(key) : "none");
const originOf = ({ topic, partition, offset }) => `${topic}/${partition}/${offset}`;

/** Whether anything was done about it, and when. */
function stateOf({ state, replayedAt, dismissedAt }) {
  const at = state === "dismissed" ? dismissedAt : replayedAt;
  return at ? `${state}, ${stamp(at)}` : state;
}

/** `floodgate.like.v1` holds likes, whatever is put before it. */
function typeOf({ topic }) {
  return topic.split(".").find((part) => ["expectation", "coupon", "like"].includes(part)) ?? topic;
}

function row(letter, place) {
  const origin = originOf(letter.origin);
  const id = `letter-${place}`;
  const button = make("button", { type: "button", "aria-expanded": "false", "aria-controls": id, "aria-label": `Show the letter of ${origin}` }, "Show");
  const told = make("tr", { id, class: "letter", hidden: true });
  button.addEventListener("click", () => {
    const isOpen = told.hidden;
    if (isOpen && !told.firstChild) told.append(make("td", { colspan: "8" }, ...detail(letter, origin)));
    told.hidden = !isOpen;
    mark(button, "aria-expanded", String(isOpen));
    tell(button, isOpen ? "Hide" : "Show");
  });
  const text = (words, style = null) => make("td", { class: style }, words);
  return [
    make("tr", { "data-origin": origin, "data-reason": letter.reason },
      text(stamp(letter.failedAt), "when"), text(typeOf(letter.origin)), text(letter.reason), text(letter.message, "message"), text(keyOf(letter), "key"),
      text(count(letter.attempts), "number"), text(stateOf(letter), "when"), make("td", {}, button)),
    told,
  ];
}

function detail(letter, origin) {
  const facts = [["Origin", origin], ["Group", letter.group], ["Reason", letter.reason], ["Message", letter.message], ["Key", keyOf(letter)], ["Failed at", letter.failedAt],
    ["State", stateOf(letter)], ...(letter.dismissedBecause ? [["Dismissed because", letter.dismissedBecause]] : [])];
  const list = make("dl", { class: "facts" }, ...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  const event = letter.event
    ? make("pre", { tabindex: "0", "aria-label": "The event" }, JSON.stringify(letter.event, null, 2))
    : make("p", {}, "Its bytes are no event of this topic. How they begin shows ", make("code", {}, `floodgate dlq show ${shellWord(origin)}`));
  const again = make("button", { type: "button" }, "Replay this one…");
  again.addEventListener("click", () => replay({ origin }));
  const buttons = [again];
  if (letter.event?.eventId) {
    const where = make("button", { type: "button" }, "Where is it now?");
    where.addEventListener("click", () => lookFor(letter.event.eventId));
    buttons.push(where);
  }
  return [list, event, make("p", { class: "buttons" }, ...buttons)];
}

/** What would happen first, then the question, then the deed. */
async function replay(meant) {
  if (isReplaying) return;
  isReplaying = true;
  await replayOnce(meant, byId("replay-told"));
  isReplaying = false;
}

async function replayOnce(meant, told) {
  const filters = Object.fromEntries(Object.entries(meant).filter(([, value]) => value));
  const isSet = Object.keys(filters).length > 0 ? filters : { all: true };
  mark(told, "data-state", "asked");
  tell(told, "Asking what a replay would do…");
  try {
    const dry = await post({ ...isSet, dryRun: true });
    tell(told, dry.detail);
    if (!(dry.replayed > 0)) return mark(told, "data-state", "nothing");
    if (!(await confirmed(isSet, dry.detail))) {
      mark(told, "data-state", "left");
      return tell(told, `${dry.detail.replace(/\.$/, "")}. Nothing was replayed.`);
    }
    mark(told, "data-state", "replaying");
    tell(told, "Replaying…");
    const done = await post({ ...isSet, dryRun: false });
    tell(told, done.detail);
    mark(told, "data-state", "done");
    read();
  } catch (refusal) {
    mark(told, "data-state", "refused");
    if (![403, 404, 405].includes(refusal.status)) return tell(told, refusal.message ?? String(refusal));
    const options = Object.entries(isSet).map(([name, value]) => (value === true ? `--${name}` : `--${name} ${shellWord(value)}`));
    const command = ["floodgate dlq replay", ...options, "--dry-run"].join(" ");
    const why = refusal.status === 403 ? refusal.message.replace(/\.$/, "") : "This process does not replay";
    told.replaceChildren(`${why}. From the command line: `, make("code", {}, command));
  }
}

const post = (body) => ask("/dlq/replay", {
  method: "POST",
  // pages of others cannot send this header without being asked, and they are not
  headers: { "content-type": "application/json", "floodgate-confirm": "replay" },
  body: JSON.stringify(body),
});

function confirmed({ type, reason, origin }, sentence) {
  const dialog = byId("confirm");
  const of = [type && `of type ${type}`, reason && `with the reason ${reason}`, origin && `of ${origin}`].filter(Boolean).join(", ");
  tell(byId("confirm-what"), of ? `Meant are dead letters ${of}.` : "All dead letters are meant.");
  tell(byId("confirm-dry"), sentence);
  return new Promise((resolve) => {
    let isYes = false;
    const leave = new AbortController();
    const { signal } = leave;
    byId("confirm-yes").addEventListener("click", () => {
      isYes = true;
      dialog.close();
    }, { signal });
    byId("confirm-no").addEventListener("click", () => dialog.close(), { signal });
    dialog.addEventListener("close", () => {
      leave.abort();
      resolve(isYes);
    }, { signal });
    dialog.showModal();
  });
}
