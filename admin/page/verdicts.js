// How every group stands: a card each, one sentence for all, and the title of the page.

import { severity, summary } from "./state.js";
import { badge, byId, clock, count, datum, isKnown, judge, listed, make, mark, rate, seconds, tell } from "./words.js";

const PLAIN = {
  OK: "OK",
  LAGGING: "lagging",
  FALLING_BEHIND: "falling behind",
  STALLED: "stalled",
  HELD: "held",
  EMPTY: "without members",
  UNKNOWN: "not known",
};

/** Positions that are older than the news by this much say so. */
const OLD_AFTER = 10_000;
/** What waits for less is on its way, as the server's own sentences have it. */
const KEEPS_UP = 2;

const cards = new Map();

export function showVerdicts(snapshot, names) {
  const groups = snapshot.lag.groups;
  const place = byId("cards");
  for (const name of cards.keys()) {
    if (groups.some((group) => group.group === name)) continue;
    cards.get(name).node.remove();
    cards.delete(name);
  }
  for (const group of groups) {
    if (!cards.has(group.group)) {
      const card = new Card(group.group, names.get(group.group));
      cards.set(group.group, card);
      place.append(card.node);
    }
    cards.get(group.group).show(group, Date.parse(snapshot.asOf));
  }
  tell(byId("overall"), overall(groups, names));
}

class Card {
  constructor(name, short) {
    this.badge = badge("UNKNOWN");
    this.reason = make("p", { class: "reason" });
    this.values = {};
    const list = make("dl");
    for (const [key, label] of FIELDS) {
      this.values[key] = make("dd", { class: "value" }, "?");
      list.append(make("div", {}, make("dt", {}, label), this.values[key]));
    }
    this.old = make("p", { class: "old" });
    const head = make("div", { class: "card-head" }, make("h3", {}, short), make("span", { class: "full" }, name), this.badge);
    this.node = make("article", { class: "card", "data-group": name, "aria-label": `Group ${name}` }, head, this.reason, list, this.old);
  }

  show(group, now) {
    const known = summary(group);
    judge(this.badge, group.status);
    tell(this.reason, capital(group.reason));
    const texts = {
      waiting: atLeast(known.waiting, known.waitingAll, count),
      behind: atLeast(known.behind, known.behindAll, seconds),
      in: rate(known.in),
      applied: rate(known.applied),
      members: `${count(group.members)} (${count(group.usefulMembers)} useful)`,
      clear: clear(group, known),
    };
    for (const [key, text] of Object.entries(texts)) {
      tell(this.values[key], text);
      this.values[key].classList.toggle("unknown", text.startsWith("?"));
    }
    const isOld = isKnown(group.asOf) && now - Date.parse(group.asOf) > OLD_AFTER;
    tell(this.old, isOld ? `These are the positions of ${clock(Date.parse(group.asOf))}.` : "");
    this.node.classList.toggle("is-old", isOld);
    const waiting = known.waitingAll || known.waiting > 0 ? known.waiting : null;
    const data = {
      status: group.status,
      lag: datum(waiting),
      "at-least": known.waitingAll ? null : "",
      behind: datum(known.behind),
      in: datum(known.in),
      applied: datum(known.applied),
      members: datum(group.members),
      useful: datum(group.usefulMembers),
      clear: datum(group.secondsToCatchUp),
      "as-of": datum(group.asOf),
    };
    for (const [name, value] of Object.entries(data)) mark(this.node, `data-${name}`, value);
  }
}

const FIELDS = [
  ["waiting", "Waiting"],
  ["behind", "Behind"],
  ["clear", "Clear in"],
  ["in", "In"],
  ["applied", "Applied"],
  ["members", "Members"],
];

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** A part of what there is, and be it nothing, is no zero. */
function atLeast(value, isAll, words) {
  if (isAll || !isKnown(value)) return words(value);
  return value > 0 ? `≥ ${words(value)}` : "?";
}

function clear(group, known) {
  if (isKnown(group.secondsToCatchUp)) return group.secondsToCatchUp === 0 ? "nothing waits" : seconds(group.secondsToCatchUp);
  return group.status === "UNKNOWN" || !isKnown(known.in) ? "?" : "never";
}

/** Whether somebody should look: what is applied as it comes is not worth a word each time. */
function isCalm(group) {
  const { behind, behindAll, waiting } = summary(group);
  return severity(group.status, waiting) < severity("LAGGING") || (group.status === "LAGGING" && behindAll && behind < KEEPS_UP);
}

function worstFirst(groups) {
  const worse = (group) => severity(group.status, summary(group).waiting ?? 1);
  return [...groups].sort((one, other) => worse(other) - worse(one));
}

const plain = (status) => PLAIN[status] ?? status;

/** Has no numbers, so that it is read out only when something changes. */
function overall(groups, names) {
  if (!groups.length) return "No group is configured.";
  const loud = worstFirst(groups.filter((group) => !isCalm(group)));
  const calm = groups.length - loud.length;
  if (!loud.length) return `All ${groups.length} groups keep up.`;
  const statuses = [...new Set(loud.map((group) => group.status))];
  const told = listed(statuses.map((status) => {
    const those = loud.filter((group) => group.status === status).map((group) => names.get(group.group));
    return `${listed(those)} ${those.length === 1 ? "is" : "are"} ${plain(status)}`;
  }));
  return calm ? `${capital(told)}; ${calm === 1 ? "the other one keeps" : "the others keep"} up.` : `${capital(told)}.`;
}

/** What a tab tells: the worst group first. */
export function titled(snapshot, names, isBroken) {
  if (isBroken) return "No news · Floodgate";
  if (!snapshot) return "Floodgate";
  const loud = worstFirst(snapshot.lag.groups.filter((group) => !isCalm(group)));
  const told = loud.map((group) => `${group.status.replace("_", " ")} ${names.get(group.group)}`);
  return `${told.length ? told.join(", ") : "OK"} · Floodgate`;
}

/** What concerns all groups, and is in none of them. */
export function showAside({ lag, ready }) {
  const told = [];
  if (ready && !ready.ok) told.push(`This process is not ready: ${ready.detail ?? "it does not say why"}.`);
  if (lag.spill && lag.spill.state !== "idle") told.push(`${spilled(lag.spill)} They are in no group's lag yet.`);
  tell(byId("aside"), told.join(" "));
}

export function spilled(spill) {
  const { strategy, waiting, oldestSeconds, state } = spill;
  const oldest = waiting ? `, the oldest for ${isKnown(oldestSeconds) ? seconds(oldestSeconds) : "an unknown time"}` : "";
  return `The fallback, ${strategy}, is ${state}: ${count(waiting)} ${waiting === 1 ? "event waits" : "events wait"} in it${oldest}.`;
}
