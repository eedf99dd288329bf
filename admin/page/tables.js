// The tables that every snapshot renews in place: partitions, coupons, what this process does, how it is set up.

import { severity } from "./state.js";
import { spilled } from "./verdicts.js";
import {
  badge, byId, count, datum, escaped, isKnown, judge, make, many, mark, milliseconds, rate, seconds, stamp, tell,
} from "./words.js";

/** More rows than anybody reads only cost time. */
const ROWS_MAX = 200;
/** Rows that change places with every snapshot can be read by nobody; their values are always the newest. */
const ORDER_MS = 10_000;
/** After so many snapshots the texts of all rows are new, also of those that nobody looks at; what tests read always is. */
const TURNS = 30;
const COUPONS_MAX = 100;
/** Over how long it is counted what is issued in a second. */
const ISSUED_MS = 10_000;

/** What is not known may be the worst, and is sorted as such. */
const unknownMost = (value) => (isKnown(value) ? value : Infinity);

const COLUMNS = [
  { id: "group", label: "Group", by: (row) => row.short, text: (row) => row.short },
  { id: "partition", label: "No.", is: "number", by: (row) => row.partition, text: (row) => String(row.partition) },
  { id: "status", label: "Status", by: (row) => severity(row.status), isDown: true, text: null },
  { id: "lag", label: "Waiting", is: "number", by: (row) => unknownMost(row.lag), isDown: true, text: (row) => count(row.lag) },
  { id: "behind", label: "Behind", is: "number", by: (row) => unknownMost(row.lagSeconds), isDown: true, text: (row) => seconds(row.lagSeconds) },
  { id: "in", label: "In", is: "number", by: (row) => row.ratesPerSecond?.in ?? -1, isDown: true, text: (row) => rate(row.ratesPerSecond?.in) },
  { id: "applied", label: "Applied", is: "number", by: (row) => row.ratesPerSecond?.applied ?? -1, isDown: true, text: (row) => rate(row.ratesPerSecond?.applied) },
  { id: "start", label: "Start", is: "number", by: (row) => row.startOffset ?? -1, isDown: true, text: (row) => offset(row.startOffset) },
  { id: "committed", label: "Committed", is: "number", by: (row) => row.committedOffset ?? -1, isDown: true, text: committed },
  { id: "end", label: "End", is: "number", by: (row) => row.endOffset ?? -1, isDown: true, text: (row) => offset(row.endOffset) },
  { id: "owner", label: "Owner", is: "long", by: (row) => owner(row), text: (row) => shortOwner(owner(row)), whole: owner },
  { id: "hot", label: "Hot key", is: "long", by: (row) => row.hotKey?.share ?? -1, isDown: true, text: hotKey, whole: hotKeyInWords },
  { id: "word", label: "What is said of it", is: "word", by: (row) => word(row), isDown: true, text: word },
];

const offset = (value) => (isKnown(value) ? String(value) : "?");

function committed(row) {
  if (isKnown(row.committedOffset)) return String(row.committedOffset);
  return isKnown(row.endOffset) ? "never" : "?";
}

function owner(row) {
  return row.member ?? (row.members === 0 ? "nobody" : "?");
}

/** Of `rdkafka-0c3e31aa-55e0-4f2a-9d13-7a9c2b3d4e5f at 10.0.3.13` what tells members apart at a glance. */
function shortOwner(owner) {
  return owner.replace(/^\S*?([0-9a-f]{8})-[0-9a-f-]{20,}/, "$1…");
}

function hotKey({ hotKey }) {
  return hotKey ? `${Math.round(hotKey.share * 100)} %: ${escaped(hotKey.key)}` : "";
}

function hotKeyInWords({ hotKey }) {
  return hotKey ? `${Math.round(hotKey.share * 100)} % of the first ${count(hotKey.of)} that wait are of the key ${escaped(hotKey.key)}` : "";
}

function word(row) {
  const told = [row.word, row.unknown];
  if (row.missing > 0) told.push(`${many(row.missing, "record")} expired unread`);
  if (row.unreadable > 0) told.push(`${many(row.unreadable, "record")} behind an open transaction`);
  return told.filter(Boolean).join("; ");
}

class Partitions {
  constructor() {
    this.rows = new Map();
    this.ids = new WeakMap();
    this.all = [];
    this.sorted = { column: COLUMNS.find((column) => column.id === "lag"), isDown: true };
    this.orderedAt = 0;
    this.turn = 0;
    this.isSeen = false;
    this.sight = new IntersectionObserver((entries) => this.saw(entries));
    new IntersectionObserver((entries) => this.comes(entries.at(-1).isIntersecting)).observe(byId("partitions"));
    this.body = byId("partition-rows");
    this.heads = COLUMNS.map((column) => {
      const button = make("button", { type: "button", "data-sort": column.id }, column.label);
      button.addEventListener("click", () => this.sortBy(column));
      return make("th", { scope: "col", role: "columnheader", class: column.is ?? null }, button);
    });
    byId("partitions-head").append(...this.heads);
    byId("not-ok").addEventListener("change", () => this.place(true));
    this.point();
  }

  sortBy(column) {
    const isSame = this.sorted.column === column;
    this.sorted = { column, isDown: isSame ? !this.sorted.isDown : Boolean(column.isDown) };
    this.point();
    this.place(true);
  }

  point() {
    COLUMNS.forEach((column, place) => {
      const order = this.sorted.isDown ? "descending" : "ascending";
      mark(this.heads[place], "aria-sort", this.sorted.column === column ? order : null);
    });
  }

  show(snapshot, names) {
    this.all = snapshot.lag.groups.flatMap(({ group, members, topics }) =>
      topics.flatMap(({ topic, partitions }) =>
        partitions.map((partition) => ({ ...partition, group, members, topic, short: names.get(group), id: `${group} ${topic} ${partition.partition}` }))));
    const ids = new Set(this.all.map((row) => row.id));
    for (const [id, row] of this.rows) {
      if (ids.has(id)) continue;
      this.sight.unobserve(row.node);
      row.node.remove();
      this.rows.delete(id);
    }
    this.place(false);
  }

  /** Puts rows where they belong, now and then, and not under the pointer, unless somebody asked for an order. */
  place(isAsked) {
    const isOnly = byId("not-ok").checked;
    const meant = isOnly ? this.all.filter((row) => row.status !== "OK") : [...this.all];
    const { column, isDown } = this.sorted;
    const way = isDown ? -1 : 1;
    const keys = new Map(meant.map((row) => [row, column.by(row)]));
    const compared = (one, other) => (keys.get(one) < keys.get(other) ? -way : keys.get(one) > keys.get(other) ? way : 0);
    const natural = (one, other) => (one.group < other.group ? -1 : one.group > other.group ? 1 : one.partition - other.partition);
    meant.sort((one, other) => compared(one, other) || natural(one, other));
    const isFirst = this.body.firstChild === null;
    const stays = !isAsked && !isFirst && (!this.isSeen || Date.now() < this.orderedAt + ORDER_MS || this.body.matches(":hover"));
    if (!stays) this.orderedAt = Date.now();
    const shown = stays ? this.stay(meant) : meant.slice(0, ROWS_MAX);
    this.turn = (this.turn + 1) % TURNS;
    arrange(this.body, shown.map((row, place) => this.renew(row, isAsked || place % TURNS === this.turn).node));
    const what = isOnly ? `of ${many(this.all.length, "partition")} are not OK` : many(this.all.length, "partition");
    const told = shown.length < meant.length ? `, the first ${shown.length} are shown` : "";
    tell(byId("partitions-shown"), `${isOnly ? `${count(meant.length)} ` : ""}${what}${told}`);
  }

  /** Whoever comes to look finds everything as it is now. */
  comes(isSeen) {
    this.isSeen = isSeen;
    if (isSeen) this.place(true);
    mark(byId("partitions"), "data-seen", isSeen ? "" : null);
  }

  stay(meant) {
    const byNode = new Map(meant.map((row) => [this.rows.get(row.id)?.node, row]));
    const there = [...this.body.children].map((node) => byNode.get(node)).filter(Boolean);
    const seen = new Set(there);
    return [...there, ...meant.filter((row) => !seen.has(row))].slice(0, ROWS_MAX);
  }

  /** The values of a row. Texts that nobody sees cost as much as others, and take turns. */
  renew(row, isTurn) {
    let known = this.rows.get(row.id);
    if (!known) {
      const cells = COLUMNS.map(({ is, text }, place) =>
        place < 2
          ? make("th", { class: is ?? null, scope: "row", role: "rowheader" })
          : make("td", { class: is ?? null, role: "cell" }, text ? "" : badge("UNKNOWN")));
      known = { cells, node: make("tr", { role: "row" }, ...cells), isSeen: true };
      this.rows.set(row.id, known);
      this.ids.set(known.node, row.id);
      this.sight.observe(known.node);
      mark(known.node, "data-group", row.group);
      mark(known.node, "data-topic", row.topic);
      mark(known.node, "data-partition", row.partition);
    }
    mark(known.node, "data-status", row.status);
    mark(known.node, "data-lag", datum(row.lag));
    mark(known.node, "data-member", row.member ?? null);
    if (known.isSeen || isTurn) this.write(row, known);
    return known;
  }

  write(row, known) {
    COLUMNS.forEach(({ text, is, whole }, place) => {
      const cell = known.cells[place];
      if (!text) return judge(cell.firstChild, row.status);
      const told = text(row);
      if (is === "long") mark(cell, "title", whole ? whole(row) : told);
      tell(cell, told);
    });
  }

  /** A row that comes into sight has the newest values. */
  saw(entries) {
    for (const { target, isIntersecting } of entries) {
      const known = this.rows.get(this.ids.get(target));
      const row = this.all.find(({ id }) => id === this.ids.get(target));
      if (!known || !row) continue;
      known.isSeen = isIntersecting;
      if (isIntersecting) this.write(row, known);
    }
  }
}

/** Makes nodes the children of another in this order. What is moved costs as much as what is new: as few as can be are. */
function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  const there = [...parent.children].filter((node) => wanted.has(node) || node.remove());
  const places = new Map(there.map((node, place) => [node, place]));
  // the longest run of those that are in order already stays: `tails` ends the best run of each length, `before` leads back
  const tails = [];
  const before = new Map();
  for (const node of nodes.filter((node) => places.has(node))) {
    let [low, high] = [0, tails.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (places.get(tails[middle]) < places.get(node)) low = middle + 1;
      else high = middle;
    }
    before.set(node, tails[low - 1]);
    tails[low] = node;
  }
  const stay = new Set();
  for (let node = tails.at(-1); node; node = before.get(node)) stay.add(node);
  let next = null;
  for (const node of [...nodes].reverse()) {
    if (!stay.has(node)) parent.insertBefore(node, next);
    next = node;
  }
}

let partitions = null;

export function showPartitions(snapshot, names) {
  partitions ??= new Partitions();
  partitions.show(snapshot, names);
}

/** What was issued of each coupon that is shown, and when. */
const issues = new Map();

/** How many pieces of a coupon are issued in a second; unknown until it was seen twice. */
function issuedPerSecond({ couponId, issued }, now) {
  const before = issues.get(couponId) ?? [];
  // fewer than before is another coupon under this id
  const course = before.length && before.at(-1).issued > issued ? [] : before.filter(({ at }) => at >= now - ISSUED_MS);
  course.push({ at: now, issued });
  issues.set(couponId, course);
  const [first] = course;
  return now > first.at ? (1000 * (issued - first.issued)) / (now - first.at) : null;
}

export function showCoupons({ coupons, lag }) {
  const rows = (coupons ?? []).slice(0, COUPONS_MAX);
  const left = (coupons?.length ?? 0) - rows.length;
  const note = coupons === null ? "Not known: this process has no database to ask, or it does not answer." : coupons.length ? "" : "There are none.";
  const decided = lag.groups.find(({ group }) => group.endsWith("floodgate.coupon"))?.ratesPerSecond?.applied;
  const notes = [left > 0 ? `And ${many(left, "other")}.` : note, isKnown(decided) && coupons?.length ? `Requests decided, of all coupons: ${rate(decided)}.` : ""];
  tell(byId("coupons-note"), notes.filter(Boolean).join(" "));
  const now = performance.now();
  const shown = new Set(rows.map(({ couponId }) => couponId));
  [...issues.keys()].filter((couponId) => !shown.has(couponId)).forEach((couponId) => issues.delete(couponId));
  byId("coupons-table").hidden = rows.length === 0;
  const body = byId("coupon-rows");
  while (body.children.length > rows.length) body.lastChild.remove();
  rows.forEach((coupon, place) => {
    if (!body.children[place]) {
      const bar = make("span", { class: "share", "aria-hidden": "true" }, make("span"));
      const numbers = [0, 1, 2, 3].map(() => make("td", { class: "number" }));
      body.append(make("tr", {}, make("th", { scope: "row" }), ...numbers, make("td", {}, bar, make("span", { class: "percent" }))));
    }
    const row = body.children[place];
    const share = coupon.stock > 0 ? Math.min(1, coupon.issued / coupon.stock) : 1;
    mark(row, "data-coupon", coupon.couponId);
    const texts = [coupon.couponId, count(coupon.stock), count(coupon.issued), count(coupon.remaining), rate(issuedPerSecond(coupon, now))];
    texts.forEach((text, cell) => tell(row.children[cell], text));
    const [bar, percent] = row.lastChild.children;
    bar.firstChild.style.width = `${100 * share}%`;
    tell(percent, `${Math.floor(100 * share)} %`);
  });
}

const TYPES = ["expectation", "coupon", "like"];

export function showRates({ rates }) {
  const names = [...new Set([...TYPES, ...Object.keys(rates?.acceptedPerSecond ?? {}), ...Object.keys(rates?.appliedPerSecond ?? {})])];
  const body = byId("rates");
  while (body.children.length > names.length) body.lastChild.remove();
  names.forEach((name, place) => {
    if (!body.children[place]) body.append(make("tr", {}, make("th", { scope: "row" }), make("td", { class: "number" }), make("td", { class: "number" })));
    const texts = [name, rate(rates?.acceptedPerSecond?.[name]), rate(rates?.appliedPerSecond?.[name])];
    texts.forEach((text, cell) => tell(body.children[place].children[cell], text));
  });
  tell(byId("refused"), rate(rates?.refusedPerSecond));
  for (const [id, times] of [["publish", rates?.publishMs], ["accept-to-row", rates?.acceptToRowMs]]) {
    const cells = byId(id).children;
    [times?.p50, times?.p99].forEach((time, place) => tell(cells[place + 1], milliseconds(time)));
  }
}

const SETUP = ["Strategy", "It is at", "What a 202 means", "Fallback", "Ready", "Role", "Version", "Started at"];
let setup = null;

export function showSetup({ process, ready, strategy, lag }) {
  if (!setup) {
    setup = SETUP.map(() => make("dd", { class: "value" }));
    byId("setup-list").append(...SETUP.map((label, place) => make("div", {}, make("dt", {}, label), setup[place])));
  }
  const isReady = ready?.ok ? "yes" : `no: ${ready?.detail ?? "it does not say why"}`;
  const texts = [
    strategy.name, strategy.place, strategy.promise, lag.spill ? spilled(lag.spill) : "none",
    ready ? isReady : "?", process.role, process.version, stamp(process.startedAt),
  ];
  texts.forEach((text, place) => tell(setup[place], text ?? "?"));
  mark(byId("setup"), "data-ready", ready ? String(ready.ok) : "unknown");
}
