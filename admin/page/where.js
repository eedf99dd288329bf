// Where an event is, by its id or its key.

import { ask, query } from "./ask.js";
import { byId, clock, count, escaped, isKnown, make, many, mark, seconds, stamp, tell } from "./words.js";

let looking = null;

export function watchWhere() {
  byId("where-id-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const id = byId("where-id").value.trim();
    if (id) look(`/where/${encodeURIComponent(id)}`);
    else tell(byId("where-told"), "Which id?");
  });
  byId("where-key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = byId("where-key").value;
    if (key) look(`/where?${query({ type: byId("where-type").value })}&key=${keyOf(key)}`);
    else tell(byId("where-told"), "Which key?");
  });
  byId("where-stop").addEventListener("click", () => looking?.abort());
}

/** A key's bytes for an address, from the text that lists and commands show: `star\x1fann`. */
function keyOf(text) {
  return text.split(/(\\\\|\\x[0-9a-f]{2}|\\u\{[0-9a-f]{1,6}\})/i).map((part, place) => {
    if (place % 2 === 0) return encodeURIComponent(part);
    if (part[1] === "\\") return "%5C";
    if (part[1] === "x") return `%${part.slice(2)}`;
    const code = parseInt(part.slice(3), 16);
    const isChar = code < 0xd800 || (code > 0xdfff && code <= 0x10ffff);
    return encodeURIComponent(isChar ? String.fromCodePoint(code) : part);
  }).join("");
}

/** As if somebody had written the id into the form. */
export function lookFor(id) {
  byId("where-id").value = id;
  byId("where").scrollIntoView();
  byId("where-id").focus({ preventScroll: true });
  look(`/where/${encodeURIComponent(id)}`);
}

async function look(path) {
  looking?.abort();
  const mine = new AbortController();
  looking = mine;
  const [part, told, stop] = [byId("where"), byId("where-told"), byId("where-stop")];
  const began = Date.now();
  byId("where-found").replaceChildren();
  mark(part, "data-state", "looking");
  tell(told, `Looking, since ${clock(began)}…`);
  stop.hidden = false;
  try {
    show(await ask(path, { signal: mine.signal }), (Date.now() - began) / 1000);
    mark(part, "data-state", "told");
  } catch (error) {
    if (looking !== mine) return;
    tell(told, error.name === "AbortError" ? "Stopped." : error.message);
    mark(part, "data-state", "refused");
  }
  if (looking !== mine) return;
  looking = null;
  stop.hidden = true;
}

function show({ found, decision, recordsRead, notTold, notes }, took) {
  const looked = `${many(recordsRead, "record")} looked at in ${seconds(took)}`;
  const what = found.length ? `${many(found.length, "record")} found` : decision ? "The request is decided; no record of it is left" : "Not found";
  tell(byId("where-told"), `${what}; ${looked}.`);
  const parts = [];
  if (decision) {
    const rank = isKnown(decision.rank) ? `, rank ${count(decision.rank)}` : "";
    parts.push(make("p", { class: "decision", "data-decision": decision.status },
      "The request is decided: ", make("b", {}, decision.status), `${rank}, coupon ${decision.couponId} for ${decision.userId}, at ${stamp(decision.decidedAt)}.`));
  }
  if (found.length) parts.push(make("ol", { class: "found" }, ...found.map(record)));
  if (notTold > 0) parts.push(make("p", {}, `And ${many(notTold, "earlier record")}.`));
  if (notes.length) parts.push(make("ul", { class: "notes" }, ...notes.map((note) => make("li", {}, note))));
  byId("where-found").replaceChildren(...parts);
}

function record({ origin, type, eventId, key, appendedAt, state, meaning }) {
  const facts = [["Type", type], ["Event", eventId ?? "none"], ["Key", isKnown(key) ? escaped(key) : "none"], ["Appended at", stamp(appendedAt)]];
  return make("li", { "data-origin": origin, "data-state": state },
    make("p", {}, make("b", { class: "state" }, state), " ", make("code", {}, origin)),
    make("p", {}, meaning),
    make("dl", { class: "facts" }, ...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))));
}
