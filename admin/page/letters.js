// Dead letters: how many there are and why, the newest of them, and what can be done about them.

import { ask, query } from "./ask.js";
import { DISMISS, REPLAY, settle } from "./settle.js";
import { byId, count, escaped, isKnown, make, many, mark, shellWord, stamp, tell } from "./words.js";
import { lookFor } from "./where.js";

/** A reading goes through the whole topic, so that it is made when somebody asks, and not with every snapshot. */
const LIMIT = 50;

let isReading = false;

const chosen = () => ({ type: byId("letters-type").value, reason: byId("letters-reason").value });

export function watchLetters() {
  byId("letters-form").addEventListener("submit", (event) => {
    event.preventDefault();
    read();
  });
  byId("letters-type").addEventListener("change", read);
  byId("letters-reason").addEventListener("change", read);
  byId("replay").addEventListener("click", () => settle(REPLAY, chosen(), read));
  byId("dismiss").addEventListener("click", () => settle(DISMISS, chosen(), read));
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
  if (unreadable > 0) notes.push(`${many(unreadable, "record")} on the topic ${unreadable === 1 ? "is no dead letter" : "are no dead letters"} of Floodgate's.`);
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
  const deed = (words, deed) => {
    const button = make("button", { type: "button" }, words);
    button.addEventListener("click", () => settle(deed, { origin }, read));
    return button;
  };
  const buttons = [deed("Replay this one…", REPLAY), deed("Dismiss this one…", DISMISS)];
  if (letter.event?.eventId) {
    const where = make("button", { type: "button" }, "Where is it now?");
    where.addEventListener("click", () => lookFor(letter.event.eventId));
    buttons.push(where);
  }
  return [list, event, make("p", { class: "buttons" }, ...buttons)];
}
