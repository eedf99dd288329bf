// The course of every group, drawn. A canvas says nothing to who does not see it: each has a table with the same values.

import uPlot from "/page/uplot.js";
import { SPAN } from "./state.js";
import { byId, clock, count, isKnown, make, mark, minute, rate, seconds, tell } from "./words.js";

const HEIGHT = 150;
/** The tables have a row for every so many seconds. */
const ROW_SECONDS = 15;

const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

/** Steps of an axis of times, so that its marks are whole ones. */
const AGES = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400, 172800, 432000, 864000];
const age = (value) => (Number.isInteger(value) && value < 120 ? `${value} s` : seconds(value));

const CHARTS = [
  { id: "behind", title: "Time behind", of: (point) => point.seconds, words: seconds, tick: age, steps: AGES, least: 2 },
  { id: "waiting", title: "Events behind", of: (point) => point.lag, words: count, tick: (value) => compact.format(value), least: 10 },
  { id: "in", title: "In, per second", of: (point) => point.in, words: rate, tick: (value) => compact.format(value), least: 10 },
  { id: "applied", title: "Applied, per second", of: (point) => point.applied, words: rate, tick: (value) => compact.format(value), least: 10 },
];

/** Lines differ in their dashes, too. */
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 5], [1, 4]];
const LINES = DASHES.length;

let colours = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["--quiet", "--grid", ...DASHES.map((_, line) => `--line-${line}`)];
  colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(name).trim()]));
}

class Chart {
  constructor(kind, groups, names) {
    this.kind = kind;
    this.groups = groups;
    this.names = names;
    this.at = make("span", { class: "at" }, "newest");
    this.values = groups.map(() => make("b", { class: "value" }, "?"));
    const legend = groups.map((group, line) =>
      make("li", {}, make("span", { class: `sample line-${line % LINES}`, "aria-hidden": "true" }), `${names.get(group)} `, this.values[line]));
    this.canvas = make("div", { class: "canvas", role: "img", "aria-label": `${kind.title}: nothing is known yet` });
    const heads = ["At", ...groups.map((group) => names.get(group))];
    this.rows = make("tbody");
    this.table = make("details", {}, make("summary", {}, `${kind.title} as a table`),
      make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": `${kind.title}, table` },
        make("table", { class: "plain" }, make("thead", {}, make("tr", {}, ...heads.map((head, place) => make("th", { scope: "col", class: place > 0 && "number" }, head)))), this.rows)));
    this.table.addEventListener("toggle", () => this.tabulate());
    this.node = make("figure", { class: "chart", "data-chart": kind.id },
      make("figcaption", {}, make("h3", {}, kind.title), this.at, make("ul", { class: "legend" }, ...legend)), this.canvas, this.table);
    this.columns = [[], ...groups.map(() => [])];
    this.latest = 0;
    this.isDrawn = false;
    this.isSeen = false;
    new IntersectionObserver((entries) => {
      this.isSeen = entries.at(-1).isIntersecting;
      if (this.isSeen && !this.isDrawn) this.draw();
    }).observe(this.canvas);
  }

  /** Draws what is known; what nobody sees is drawn once somebody does. */
  draw() {
    if (!this.plot) this.begin();
    else this.plot.setData(this.columns);
    this.isDrawn = true;
  }

  /** Its place in the page gives it its width. */
  begin() {
    const axis = { stroke: () => colours["--quiet"], font: "11px system-ui, sans-serif", ticks: { show: false }, border: { show: false } };
    const grid = { stroke: () => colours["--grid"], width: 1 };
    this.plot = new uPlot({
      width: this.width(),
      height: HEIGHT,
      legend: { show: false },
      padding: [10, 22, 0, 0],
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "course", setSeries: false }, points: { size: 6 } },
      scales: {
        x: { time: true, range: () => [this.latest - SPAN / 1000, this.latest] },
        y: { range: (_, __, most) => [0, Math.max(this.kind.least, (most ?? 0) * 1.1)] },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 24, space: 64, incrs: [60, 120, 300], values: (_, splits) => splits.map((at) => minute(at * 1000)) },
        { ...axis, grid, size: 52, space: 32, ...(this.kind.steps && { incrs: this.kind.steps }), values: (_, splits) => splits.map((value) => this.kind.tick(value)) },
      ],
      series: [
        {},
        ...this.groups.map((group, line) => ({
          label: this.names.get(group),
          stroke: () => colours[`--line-${line % LINES}`],
          width: 1.75,
          dash: DASHES[line % LINES],
          points: { show: false },
        })),
      ],
      hooks: { setCursor: [(plot) => this.read(plot.cursor.idx)] },
    }, this.columns, this.canvas);
    new ResizeObserver(() => {
      const width = this.width();
      if (width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
    }).observe(this.canvas);
  }

  width() {
    return Math.floor(this.canvas.clientWidth);
  }

  show(columns, latest) {
    this.latest = latest;
    const { of } = this.kind;
    const values = this.groups.map((group) =>
      columns.courses.get(group).map((point) => (point === undefined ? undefined : point === null ? null : (of(point) ?? null))));
    this.columns = [columns.xs, ...values];
    this.isDrawn = false;
    if (this.isSeen) this.draw();
    this.read(this.plot?.cursor.idx);
    mark(this.canvas, "aria-label", this.said());
    this.tabulate();
  }

  /** The values under the pointer, or else the newest. */
  read(index) {
    const [xs, ...values] = this.columns;
    const isPast = isKnown(index) && isKnown(xs[index]) && this.plot?.cursor.left >= 0;
    tell(this.at, isPast ? `at ${clock(xs[index] * 1000)}` : "newest");
    values.forEach((column, line) => tell(this.values[line], this.kind.words(nearest(column, isPast ? index : column.length - 1))));
  }

  said() {
    const [, ...values] = this.columns;
    const each = values.map((column, line) => {
      const known = column.filter(isKnown);
      const name = this.names.get(this.groups[line]);
      if (!known.length) return `${name} not known`;
      const now = nearest(column, column.length - 1);
      const most = known.reduce((most, value) => Math.max(most, value), 0);
      return `${name} now ${isKnown(now) ? this.kind.words(now) : "not known"}, at most ${this.kind.words(most)}`;
    });
    return `${this.kind.title} over ten minutes: ${each.join("; ")}. The values are in the table below.`;
  }

  /** Rows are made only while somebody reads them. */
  tabulate() {
    if (!this.table.open) return;
    const [xs, ...values] = this.columns;
    const rows = [];
    for (let index = xs.length - 1, last = Infinity; index >= 0; index -= 1) {
      const slot = Math.floor(xs[index] / ROW_SECONDS);
      if (slot >= last) continue;
      last = slot;
      rows.push([clock(xs[index] * 1000), ...values.map((column) => this.kind.words(nearest(column, index)))]);
    }
    while (this.rows.children.length > rows.length) this.rows.lastChild.remove();
    while (this.rows.children.length < rows.length) {
      this.rows.append(make("tr", {}, make("th", { scope: "row" }), ...this.groups.map(() => make("td", { class: "number" }))));
    }
    rows.forEach((row, place) => row.forEach((text, cell) => tell(this.rows.children[place].children[cell], text)));
  }
}

/** Groups are read one after the other: the second of one may have nothing of another, whose value is the one before. */
function nearest(column, index) {
  let place = index;
  while (place > 0 && place > index - 5 && column[place] === undefined) place -= 1;
  return column[place] ?? null;
}

let charts = [];

export function showCharts(courses, groups, names) {
  const isSame = charts.length && charts[0].groups.join() === groups.join();
  if (!isSame) {
    readColours();
    for (const chart of charts) chart.plot?.destroy();
    charts = CHARTS.map((kind) => new Chart(kind, groups, names));
    byId("charts").replaceChildren(...charts.map((chart) => chart.node));
  }
  const columns = courses.columns(groups);
  for (const chart of charts) chart.show(columns, courses.latest / 1000);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColours();
  for (const chart of charts) chart.plot?.redraw(false);
});
