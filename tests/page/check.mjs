// Looks at the operators' page with a real browser and says in one line of JSON what it shows.
//
//   node check.mjs BASE_URL COMMAND …
//
//   verdicts                           how every group stands, from the first snapshot
//   partitions                         every row of the table of partitions
//   wait-status GROUP STATUS SECONDS   until a group, by its whole name or its last part, has a status
//   wait-stale SECONDS                 until the page says that it has no news
//   wait-restarted SECONDS             until the page says that the process was restarted
//   where ID                           what the page says of an event
//   coupons SECONDS                    the coupons, once something was issued in a second
//   dead-letters                       how many there are and the newest
//   replay REASON                      dry run, confirmation, replay of all letters with a reason
//   dismiss REASON BECAUSE             dry run, confirmation that is not given without a because, dismissal of all letters with a reason
//   sign-in WRONG RIGHT                the form with a wrong token and the right one, the page, and out again
//   a11y                               names, labels, headings, order of focus, contrast
//   cost SECONDS                       the main thread's processor time for a snapshot
//   screenshot FILE WIDTH light|dark   the whole page as PNG
//   docs                               of the page at BASE_URL that shows the document: its operations, and one that is tried out
//
// Commands that wait write `watching` to stderr once the page shows its first snapshot. Any error in the console, any
// violation of the content security policy and any request to another origin is a failure: exit code 1 and a sentence.

import puppeteer from "puppeteer-core";
import { accessibility } from "./a11y.mjs";

const FIRST_SNAPSHOT_MS = 30_000;
const ASKED_MS = 60_000;

/** Something is not as it should be. */
class Failure extends Error {}

const [base, command, ...rest] = process.argv.slice(2);
const commands = {
  verdicts: [0, verdicts],
  partitions: [0, partitions],
  "wait-status": [3, waitStatus],
  "wait-stale": [1, waitStale],
  "wait-restarted": [1, waitRestarted],
  where: [1, where],
  coupons: [1, coupons],
  "dead-letters": [0, deadLetters],
  replay: [1, replay],
  dismiss: [2, dismiss],
  "sign-in": [2, signIn],
  a11y: [0, a11y],
  cost: [1, cost],
  screenshot: [3, screenshot],
  docs: [0, docs],
};

async function main() {
  const [wanted, run] = commands[command] ?? [];
  if (!run || rest.length !== wanted) {
    throw new Failure(`usage: node check.mjs BASE_URL COMMAND …, with one of ${Object.keys(commands).join(", ")}`);
  }
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: ["--no-sandbox", "--headless=new", "--disable-gpu", "--disable-dev-shm-usage"],
    defaultViewport: { width: 1360, height: 900 },
  });
  try {
    const page = await browser.newPage();
    const found = watch(page);
    await page.goto(base, { waitUntil: "domcontentloaded" }).catch((error) => {
      throw new Failure(`the page cannot be opened: ${error.message}`);
    });
    const told = await run(page, ...rest);
    const wrong = found.filter((trouble) => !isExpected(trouble));
    if (wrong.length) throw new Failure(wrong.map(({ text }) => text).join("\n"));
    console.log(JSON.stringify(told));
  } finally {
    await browser.close();
  }
}

/** Collects what must not happen, and that a stream broke or a question was refused, which may. */
function watch(page) {
  const found = [];
  const origin = new URL(base).origin;
  page.on("console", (message) => {
    if (message.type() !== "error" && !/Content.Security.Policy/i.test(message.text())) return;
    const url = message.location()?.url ?? "";
    const isResource = message.text().startsWith("Failed to load resource");
    found.push({ text: `the console says: ${message.text()} (${url})`, path: isResource && url.startsWith(origin) ? new URL(url).pathname : null });
  });
  page.on("pageerror", (error) => found.push({ text: `the page met an error: ${error.message}`, path: null }));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(`${origin}/`) && !url.startsWith("data:")) found.push({ text: `the page asked another origin: ${url}`, path: null });
  });
  return found;
}

/** What the server answers to a question stands on the page; that a stream breaks is what some commands wait for. */
function isExpected({ path }) {
  if (path === null) return false;
  // the form comes with a 401
  if (command === "sign-in" && ["/", "/session"].includes(path)) return true;
  const isAsked = path === "/dlq" || path === "/dlq/replay" || path.startsWith("/where");
  return isAsked || (path === "/live" && ["wait-stale", "wait-restarted", "wait-status"].includes(command));
}

/** Waits for a condition in the page. */
async function until(page, seconds, what, condition, ...values) {
  try {
    await page.waitForFunction(condition, { timeout: seconds * 1000, polling: 100 }, ...values);
  } catch (error) {
    if (error.name === "TimeoutError") throw new Failure(`after ${seconds} s ${what}`);
    throw error;
  }
}

async function firstSnapshot(page) {
  await until(page, FIRST_SNAPSHOT_MS / 1000, "the page has no snapshot", () => document.body.dataset.snapshots > 0 && document.querySelector("[data-group]"));
}

/** The clients' page: all of the document is on it, and what it sends is answered. */
async function docs(page) {
  const shown = () => document.body.dataset.complete && document.querySelectorAll(".opblock").length > 0;
  await until(page, ASKED_MS / 1000, "the document is not shown", shown);
  await page.click("#operations-instance-readReadiness .opblock-summary-control");
  for (const button of [".try-out__btn", ".execute"]) {
    await page.waitForSelector(`#operations-instance-readReadiness ${button}`, { timeout: ASKED_MS });
    await page.click(`#operations-instance-readReadiness ${button}`);
  }
  const status = "#operations-instance-readReadiness .live-responses-table tbody .response-col_status";
  await page.waitForSelector(status, { timeout: ASKED_MS });
  return page.evaluate((status) => ({
    title: document.querySelector(".info .title").textContent,
    operations: document.querySelectorAll(".opblock").length,
    tried: Number.parseInt(document.querySelector(status).textContent, 10),
  }), status);
}

function number(text) {
  const value = Number(text);
  if (!(value > 0)) throw new Failure(`${text} is no number of seconds`);
  return value;
}

async function coupons(page, within) {
  await firstSnapshot(page);
  process.stderr.write("watching\n");
  await page.waitForFunction(
    () => [...document.querySelectorAll("#coupon-rows tr")].some((row) => !["?", "0/s"].includes(row.children[4].textContent)),
    { timeout: 1000 * Number(within) },
  );
  return page.evaluate(() => ({
    note: document.getElementById("coupons-note").textContent,
    rows: [...document.querySelectorAll("#coupon-rows tr")].map((row) => [...row.children].map((cell) => cell.textContent)),
  }));
}

async function verdicts(page) {
  await firstSnapshot(page);
  return page.evaluate(() => {
    const known = (text) => (text === undefined || text === "unknown" ? null : Number(text));
    const groups = [...document.querySelectorAll(".card")].map((card) => ({
      group: card.dataset.group,
      status: card.dataset.status,
      reason: card.querySelector(".reason").textContent,
      waiting: known(card.dataset.lag),
      isAtLeast: "atLeast" in card.dataset,
      behind: known(card.dataset.behind),
      in: known(card.dataset.in),
      applied: known(card.dataset.applied),
      members: known(card.dataset.members),
      usefulMembers: known(card.dataset.useful),
      secondsToCatchUp: known(card.dataset.clear),
      shown: Object.fromEntries([...card.querySelectorAll("dl > div")].map((pair) => [pair.firstChild.textContent, pair.lastChild.textContent])),
    }));
    return { title: document.title, overall: document.getElementById("overall").textContent, ready: document.getElementById("setup").dataset.ready, groups };
  });
}

async function partitions(page) {
  await firstSnapshot(page);
  // rows out of sight are not kept in order
  await page.$eval("#partitions", (part) => part.scrollIntoView({ behavior: "instant" }));
  await until(page, 10, "the page does not notice that its partitions are looked at", () => "seen" in document.getElementById("partitions").dataset);
  return page.evaluate(() => {
    const heads = [...document.querySelectorAll("#partitions-head button")].map((head) => head.dataset.sort);
    const rows = [...document.querySelectorAll("tr[data-partition]")].map((row) => ({
      group: row.dataset.group,
      topic: row.dataset.topic,
      partition: Number(row.dataset.partition),
      status: row.dataset.status,
      member: row.dataset.member ?? null,
      lag: row.dataset.lag === "unknown" ? null : Number(row.dataset.lag),
      shown: Object.fromEntries([...row.cells].map((cell, place) => [heads[place], cell.textContent])),
    }));
    return { shown: document.getElementById("partitions-shown").textContent, rows };
  });
}

async function waitStatus(page, group, status, seconds) {
  await firstSnapshot(page);
  console.error("watching");
  await until(page, number(seconds), `${group} is not ${status}`, (name, wanted) =>
    [...document.querySelectorAll(".card")].some(({ dataset }) => (dataset.group === name || dataset.group.endsWith(`.${name}`)) && dataset.status === wanted), group, status);
  return verdicts(page);
}

const banner = (page) => page.evaluate(() => document.querySelector(".news").textContent);

async function waitStale(page, seconds) {
  await firstSnapshot(page);
  console.error("watching");
  await until(page, number(seconds), "the page does not say that it has no news", () => "stale" in document.body.dataset);
  return { stale: true, title: await page.title(), says: await banner(page) };
}

async function waitRestarted(page, seconds) {
  await firstSnapshot(page);
  console.error("watching");
  await until(page, number(seconds), "the page does not say that the process was restarted", () => document.body.dataset.restarted && !("stale" in document.body.dataset));
  const says = await page.evaluate(() => document.getElementById("restarted").textContent);
  return { restarted: await page.evaluate(() => document.body.dataset.restarted), says, news: await banner(page) };
}

async function where(page, id) {
  await firstSnapshot(page);
  await page.type("#where-id", id);
  await page.keyboard.press("Enter");
  await until(page, ASKED_MS / 1000, "the search has no answer", () => ["told", "refused"].includes(document.getElementById("where").dataset.state));
  return page.evaluate(() => ({
    state: document.getElementById("where").dataset.state,
    says: document.getElementById("where-told").textContent,
    found: [...document.querySelectorAll("#where-found [data-origin]")].map((record) => ({
      origin: record.dataset.origin,
      state: record.dataset.state,
      meaning: record.children[1].textContent,
      facts: Object.fromEntries([...record.querySelectorAll("dl > div")].map((pair) => [pair.firstChild.textContent, pair.lastChild.textContent])),
    })),
    decision: document.querySelector("#where-found [data-decision]")?.dataset.decision ?? null,
    notes: [...document.querySelectorAll("#where-found .notes li")].map((note) => note.textContent),
  }));
}

async function readLetters(page) {
  await firstSnapshot(page);
  await page.$eval("#letters", (part) => part.scrollIntoView({ behavior: "instant" }));
  await until(page, ASKED_MS / 1000, "the dead letters are not read", () => {
    const part = document.getElementById("letters");
    return part.dataset.read && !part.hasAttribute("aria-busy");
  });
}

async function deadLetters(page) {
  await readLetters(page);
  const first = await page.$("#letter-rows button");
  await first?.click();
  return page.evaluate(() => ({
    read: document.getElementById("letters").dataset.read,
    says: document.getElementById("letters-count").textContent,
    total: Number(document.getElementById("letters").dataset.total ?? NaN),
    byReason: Object.fromEntries([...document.querySelectorAll("#letters-reasons li")].map(({ dataset }) => [dataset.reason, Number(dataset.count)])),
    notes: [...document.querySelectorAll("#letters-notes li")].map((note) => note.textContent),
    letters: [...document.querySelectorAll("#letter-rows tr[data-origin]")].map((row) => ({
      origin: row.dataset.origin,
      reason: row.dataset.reason,
      shown: [...row.cells].slice(0, -1).map((cell) => cell.textContent),
    })),
    first: document.querySelector("#letter-rows .letter:not([hidden]) pre")?.textContent ?? null,
  }));
}

function replay(page, reason) {
  return settle(page, "replay", reason, async () => {});
}

function dismiss(page, reason, because) {
  return settle(page, "dismiss", reason, async () => {
    await page.click("#confirm-yes");
    if (!(await page.$eval("#confirm", (dialog) => dialog.open))) throw new Failure("they are dismissed without a word why");
    await page.type("#confirm-because", because);
  });
}

/** What a button does about all letters with a reason, once `confirm` has filled in what the dialog asks. */
async function settle(page, button, reason, confirm) {
  await readLetters(page);
  const offered = await page.$$eval("#letters-reason option", (options) => options.map((option) => option.value));
  if (!offered.includes(reason)) throw new Failure(`there is no dead letter with the reason ${reason}; there are ${offered.filter(Boolean).join(", ") || "none"}`);
  await page.select("#letters-reason", reason);
  await readLetters(page);
  await page.click(`#${button}`);
  const state = () => page.$eval("#settle-told", (told) => told.dataset.state);
  const says = () => page.$eval("#settle-told", (told) => told.textContent);
  await until(page, ASKED_MS / 1000, "the dry run has no answer", () =>
    document.getElementById("confirm").open || ["refused", "nothing"].includes(document.getElementById("settle-told").dataset.state));
  if (!(await page.$eval("#confirm", (dialog) => dialog.open))) return { state: await state(), says: await says() };
  const question = await page.$eval("#confirm", (dialog) => ({
    title: dialog.querySelector("#confirm-title").textContent,
    asksWhy: !dialog.querySelector("#confirm-why").hidden,
    what: dialog.querySelector("#confirm-what").textContent,
    dryRun: dialog.querySelector("#confirm-dry").textContent,
    focus: document.activeElement.id,
  }));
  if (question.focus !== "confirm-no") throw new Failure(`the dialog begins with the focus on ${question.focus}, not on what does nothing`);
  await confirm();
  await page.click("#confirm-yes");
  await until(page, ASKED_MS / 1000, "the deed has no answer", () => ["done", "refused"].includes(document.getElementById("settle-told").dataset.state));
  return { state: await state(), ...question, says: await says() };
}

async function signIn(page, wrong, right) {
  const form = async () => ({
    title: await page.title(),
    says: await page.$eval("[role=alert]", (alert) => alert.textContent),
    focus: await page.evaluate(() => document.activeElement.id),
    margin: await page.evaluate(() => getComputedStyle(document.body).maxWidth),
  });
  const submit = async (token) => {
    await page.type("#token", token);
    await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  };
  const asked = await form();
  await submit(wrong);
  const refused = await form();
  await submit(right);
  await firstSnapshot(page);
  const readable = await page.evaluate(() => document.cookie);
  await page.reload();
  await firstSnapshot(page);
  const [{ name, httpOnly, sameSite }] = await page.cookies();
  const status = (path, options) => page.evaluate(async (asked, sent) => (await fetch(asked, sent)).status, path, options);
  const lag = await status("/lag");
  const headers = { "content-type": "application/json", "floodgate-confirm": "replay" };
  const replay = await status("/dlq/replay", { method: "POST", headers, body: JSON.stringify({ all: true, dryRun: true }) });
  // it is over without the page having been told
  const cookies = await page.cookies();
  await page.deleteCookie(...cookies);
  await Promise.all([page.waitForNavigation(), page.evaluate(() => { fetch("/session").then(({ status }) => status === 401 && location.reload()); })]);
  const over = await form();
  await submit(right);
  await firstSnapshot(page);
  await Promise.all([page.waitForNavigation(), page.click("#sign-out")]);
  return { asked, refused, cookie: { name, httpOnly, sameSite, readable }, lag, replay, over, out: await form(), left: (await page.cookies()).length };
}

async function a11y(page) {
  await readLetters(page);
  await until(page, 10, "there are no charts", () => document.querySelectorAll(".chart").length >= 4);
  const told = await accessibility(page);
  if (told.wrong.length) throw new Failure(told.wrong.join("\n"));
  return told;
}

async function cost(page, seconds) {
  await firstSnapshot(page);
  // what is done once, as the first drawing, is not what a snapshot costs
  await until(page, FIRST_SNAPSHOT_MS / 1000, "there is no third snapshot", () => document.body.dataset.snapshots >= 3);
  const snapshots = () => page.evaluate(() => Number(document.body.dataset.snapshots));
  const parts = {};
  for (const part of ["groups", "partitions"]) {
    await page.$eval(`#${part}`, (node) => node.scrollIntoView({ behavior: "instant" }));
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const before = await snapshots();
    await page.tracing.start({ categories: ["-*", "toplevel", "devtools.timeline"] });
    await new Promise((resolve) => setTimeout(resolve, number(seconds) * 1000));
    const trace = JSON.parse(new TextDecoder().decode(await page.tracing.stop()));
    const count = (await snapshots()) - before;
    if (count < 1) throw new Failure(`there was no snapshot in ${seconds} s`);
    parts[part] = { snapshots: count, cpuMsPerSnapshot: spent(trace.traceEvents, count) };
  }
  const rows = await page.$$eval("tr[data-partition]", (found) => found.length);
  const { JSHeapUsedSize, Nodes } = await page.metrics();
  return { rows, ...parts, heapMb: Math.round(JSHeapUsedSize / 1e5) / 10, nodes: Nodes };
}

/** The processor time of the page's main thread, which waits for others do not lengthen. */
function spent(events, snapshots) {
  const main = events.find(({ name, args }) => name === "FunctionCall" && args?.data?.url?.includes("/page/"));
  if (!main) throw new Failure("the trace has nothing of the page");
  const own = events.filter(({ pid, tid, ph }) => pid === main.pid && tid === main.tid && ph === "X");
  const sum = (...names) => own.filter(({ name }) => names.includes(name)).reduce((all, { tdur }) => all + (tdur ?? 0), 0);
  const each = (micros) => Math.round(micros / 10 / snapshots) / 100;
  return {
    all: each(sum("ThreadControllerImpl::RunTask")),
    script: each(sum("FunctionCall", "EvaluateScript")),
    style: each(sum("UpdateLayoutTree")),
    layout: each(sum("Layout")),
    paint: each(sum("PrePaint", "Paint", "Layerize")),
  };
}

async function screenshot(page, file, width, scheme) {
  if (!["light", "dark"].includes(scheme) || !(Number(width) > 0)) throw new Failure("screenshot takes FILE WIDTH light|dark");
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.setViewport({ width: Number(width), height: 900, deviceScaleFactor: 1 });
  await readLetters(page);
  await page.evaluate(() => scrollTo({ top: 0, behavior: "instant" }));
  // what is out of sight is not drawn: a window as high as the page leaves nothing out
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewport({ width: Number(width), height, deviceScaleFactor: 1 });
  await until(page, 30, "the charts are not drawn", () => document.querySelectorAll(".chart canvas").length >= 4);
  const seen = await page.evaluate(() => Number(document.body.dataset.snapshots));
  await until(page, FIRST_SNAPSHOT_MS / 1000, "there is no other snapshot", (before) => document.body.dataset.snapshots > before, seen);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  if (wide > Number(width)) throw new Failure(`the page is ${wide} pixels wide, more than ${width}`);
  await page.screenshot({ path: file });
  return { file, width: Number(width), scheme, height };
}

main().catch((error) => {
  console.error(error instanceof Failure ? error.message : error);
  process.exitCode = 1;
});
