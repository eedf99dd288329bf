// What the page knows: the stream of news, how old it is, and the course of every group.

import { isKnown } from "./words.js";

/** How long the charts look back, in milliseconds. */
export const SPAN = 10 * 60 * 1000;

/** A stream that is silent for several times as long as it was before is broken, whatever the connection says. */
const SILENCE_MIN = 10_000;
/** Until its pace is known it may be that of a server that reads but once a minute. */
const SILENCE_FIRST = 65_000;
const RETRY_FIRST = 1000;
const RETRY_MAX = 15_000;
/** More points than ten minutes can bring are an old clock's. */
const POINTS_MAX = 1200;

/** Follows the server's news for ever: `onSnapshot(snapshot, history)`, `onBroken(lastNewsAt)`, and `onTick` every second. */
export function follow({ onSnapshot, onBroken, onTick }) {
  let source = null;
  let openedAt = 0;
  let history = null;
  let lastNews = null;
  let spacing = null;
  let pause = RETRY_FIRST;
  let retry = null;

  function open() {
    clearTimeout(retry);
    retry = null;
    source = new EventSource("/live");
    openedAt = Date.now();
    source.addEventListener("history", (event) => {
      history = JSON.parse(event.data);
    });
    source.addEventListener("snapshot", (event) => {
      const now = Date.now();
      if (lastNews !== null && lastNews >= openedAt) spacing = 0.7 * (spacing ?? now - lastNews) + 0.3 * (now - lastNews);
      lastNews = now;
      pause = RETRY_FIRST;
      const before = history;
      history = null;
      onSnapshot(JSON.parse(event.data), before);
    });
    source.addEventListener("error", fail);
  }

  // the browser's own tries end with the first answer that is no stream, as of a server that is stopping
  function fail() {
    source.close();
    onBroken(lastNews);
    if (retry === null) {
      retry = setTimeout(open, pause * (0.8 + 0.4 * Math.random()));
      pause = Math.min(pause * 1.6, RETRY_MAX);
    }
  }

  function hurry() {
    if (retry !== null && !document.hidden) {
      pause = RETRY_FIRST;
      open();
    }
  }

  setInterval(() => {
    // one that connects to somebody who never says anything is broken, too
    const silent = Date.now() - Math.max(lastNews ?? 0, openedAt);
    const patience = spacing === null ? SILENCE_FIRST : Math.max(SILENCE_MIN, 4 * spacing);
    if (retry === null && silent > patience) fail();
    onTick(lastNews);
  }, 1000);
  addEventListener("online", hurry);
  document.addEventListener("visibilitychange", hurry);
  open();
}

/** How a group stands, in numbers. What is only partly known says so. */
export function summary(group) {
  const partitions = group.topics.flatMap((topic) => topic.partitions);
  const lags = partitions.map((partition) => partition.lag);
  const ages = partitions.filter((partition) => partition.lag !== 0).map((partition) => partition.lagSeconds);
  if (group.queue) {
    lags.push(group.queue.lag);
    if (group.queue.lag !== 0) ages.push(group.queue.lagSeconds);
  }
  const knownLags = lags.filter(isKnown);
  const knownAges = ages.filter(isKnown);
  return {
    // null where nothing is known; the others may be less than what there is
    waiting: knownLags.length ? knownLags.reduce((sum, lag) => sum + lag, 0) : null,
    waitingAll: knownLags.length === lags.length,
    behind: knownAges.length ? Math.max(...knownAges) : ages.length || !lags.length ? null : 0,
    behindAll: knownAges.length === ages.length && lags.length > 0,
    in: group.ratesPerSecond?.in ?? null,
    applied: group.ratesPerSecond?.applied ?? null,
    partitions,
  };
}

/** The worst first. A group without members is bad only if something waits for one. */
const ORDER = ["EMPTY", "STALLED", "HELD", "FALLING_BEHIND", "UNKNOWN", "LAGGING", "OK"];

export function severity(status, waiting = 1) {
  if (status === "EMPTY" && waiting === 0) return 0.5;
  const place = ORDER.indexOf(status);
  // a status of a newer server is not known here, and may be anything
  return place < 0 ? ORDER.length : ORDER.length - 1 - place;
}

/** The course of every group over ten minutes, from the server's history and the snapshots since. */
export class Courses {
  constructor() {
    this.place = null;
    this.points = new Map();
    this.latest = 0;
  }

  /** Takes what is new. Another place than before has offsets of its own, and its course begins anew. */
  take(snapshot, history) {
    const place = `${snapshot.strategy.name} ${snapshot.strategy.place}`;
    if (this.place !== place) this.points.clear();
    this.place = place;
    this.latest = Date.parse(snapshot.asOf);
    for (const [group, points] of Object.entries(history?.groups ?? {})) {
      for (const point of points) this.add(group, point);
    }
    for (const group of snapshot.lag.groups) {
      if (!isKnown(group.asOf)) continue;
      const { waiting, waitingAll, behind, behindAll, in: came, applied } = summary(group);
      const at = Date.parse(group.asOf);
      // a reading that is told again, since the next one failed, is no new point
      if (this.points.get(group.group)?.has(second(at)) && group.status === "UNKNOWN") continue;
      const lag = waitingAll ? waiting : null;
      this.add(group.group, { at, lag, seconds: behindAll ? behind : null, in: came, applied });
    }
    for (const points of this.points.values()) {
      for (const at of points.keys()) {
        if (at < second(this.latest - SPAN) || points.size > POINTS_MAX) points.delete(at);
      }
    }
  }

  add(group, point) {
    if (!this.points.has(group)) this.points.set(group, new Map());
    const points = this.points.get(group);
    points.set(second(point.at), point);
  }

  /** Columns for the charts: seconds, and for every group its points. A pause in the readings is a gap, not a line. */
  columns(groups) {
    const seconds = new Set();
    for (const group of groups) for (const at of this.points.get(group)?.keys() ?? []) seconds.add(at);
    const times = [...seconds].sort((one, other) => one - other);
    const steps = times.slice(1).map((at, place) => at - times[place]).sort((one, other) => one - other);
    const gap = Math.max(15, 3 * (steps[steps.length >> 1] ?? 0));
    const xs = [];
    times.forEach((at, place) => {
      if (place > 0 && at - times[place - 1] > gap) xs.push(times[place - 1] + 1);
      xs.push(at);
    });
    // what was read last is not so for ever
    if (times.length && second(this.latest) - times.at(-1) > gap) xs.push(times.at(-1) + 1);
    const course = (group) => {
      const points = this.points.get(group) ?? new Map();
      let last = null;
      return xs.map((at) => {
        const point = points.get(at);
        if (point) last = at;
        else if (last !== null && at - last > gap) return null;
        // undefined is a second in which only others were read; null is one in which this was not known
        return point ?? (seconds.has(at) ? undefined : null);
      });
    };
    return { xs, courses: new Map(groups.map((group) => [group, course(group)])) };
  }
}

const second = (at) => Math.round(at / 1000);
