// The operators' page: takes the news as it comes and hands it to every part.

import { showCharts } from "./charts.js";
import { watchLetters } from "./letters.js";
import { signInAgain, watchSignOut } from "./session.js";
import { Courses, follow } from "./state.js";
import { showCoupons, showPartitions, showRates, showSetup } from "./tables.js";
import { showAside, showVerdicts, titled } from "./verdicts.js";
import { watchWhere } from "./where.js";
import { byId, clock, mark, seconds, shortNames, tell, zone } from "./words.js";

const { body } = document;
const courses = new Courses();
let latest = null;
let names = new Map();
let startedAt = null;
let isBroken = false;

const parts = {
  groups: () => {
    showVerdicts(latest, names);
    showAside(latest);
  },
  course: () => {
    showCharts(courses, latest.lag.groups.map((group) => group.group), names);
    showRates(latest);
  },
  partitions: () => showPartitions(latest, names),
  coupons: () => showCoupons(latest),
  setup: () => showSetup(latest),
};

/** A part that cannot show what it was told says so, and the others go on: old values without a word would be a lie. */
function show() {
  for (const [id, part] of Object.entries(parts)) {
    try {
      part();
      mark(byId(id), "data-failed", null);
    } catch (error) {
      mark(byId(id), "data-failed", "");
      console.error(`the part ${id} cannot be shown`, error);
    }
  }
}

function titleAnew() {
  const title = titled(latest, names, isBroken);
  if (document.title !== title) document.title = title;
}

function onSnapshot(snapshot, history) {
  isBroken = false;
  latest = snapshot;
  names = shortNames(snapshot.lag.groups.map((group) => group.group));
  courses.take(snapshot, history);
  if (startedAt !== null && startedAt !== snapshot.process.startedAt) {
    mark(body, "data-restarted", snapshot.process.startedAt);
    tell(byId("restarted"), `The process was restarted at ${clock(Date.parse(snapshot.process.startedAt))}.`);
  }
  startedAt = snapshot.process.startedAt;
  mark(body, "data-stale", null);
  tell(byId("news"), "Live");
  tell(byId("news-age"), `, ${clock(Date.now())}`);
  titleAnew();
  // nobody sees a page in the background but its title; what is missed is drawn at once when somebody looks
  if (!document.hidden) show();
  mark(body, "data-snapshots", Number(body.dataset.snapshots ?? 0) + 1);
}

function onBroken(lastNews) {
  isBroken = true;
  mark(body, "data-stale", "");
  tell(byId("news"), lastNews === null ? "No news yet" : `No news since ${clock(lastNews)}`);
  onTick(lastNews);
  titleAnew();
  signInAgain();
}

function onTick(lastNews) {
  if (!isBroken) return;
  const age = Math.round((Date.now() - lastNews) / 1000);
  const ago = lastNews === null ? "" : `, ${age < 120 ? `${age} s` : seconds(age)} ago`;
  tell(byId("news-age"), `${ago}; trying again`);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && latest) show();
});

watchLetters();
watchSignOut();
watchWhere();
byId("zone").textContent = zone();
follow({ onSnapshot, onBroken, onTick });
