// Whether the page can be used without seeing it, without a mouse and without telling colours apart, as far as a machine can say.

const STATUSES = ["OK", "LAGGING", "FALLING_BEHIND", "STALLED", "HELD", "EMPTY", "UNKNOWN"];
const CONTRAST_MIN = 4.5;
const TABS_MAX = 600;

export async function accessibility(page) {
  const wrong = await page.evaluate(names);
  const { reached, missed } = await tabThrough(page);
  if (missed.length) wrong.push(`Tab does not reach ${missed.slice(0, 5).join(", ")}${missed.length > 5 ? ` and ${missed.length - 5} more` : ""}`);
  const contrast = {};
  for (const scheme of ["light", "dark"]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    contrast[scheme] = await page.evaluate(contrasts, STATUSES);
    for (const [what, ratio] of Object.entries(contrast[scheme])) {
      if (ratio < CONTRAST_MIN) wrong.push(`the contrast of ${what} in the ${scheme} scheme is ${ratio}`);
    }
  }
  return { wrong, reached, contrast };
}

/** Runs in the page. */
function names() {
  const wrong = [];
  const say = (isRight, what) => isRight || wrong.push(what);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const called = (node) => {
    const by = node.getAttribute("aria-labelledby");
    const texts = by ? by.split(" ").map((id) => document.getElementById(id)?.textContent ?? "") : [];
    return (node.getAttribute("aria-label") ?? (texts.join(" ") || node.textContent)).trim();
  };
  say(document.documentElement.lang, "the page names no language");
  say(document.title, "the page has no title");
  say(all("h1").length === 1, `there are ${all("h1").length} h1`);
  say(all("main").length === 1, `there are ${all("main").length} main`);
  let level = 0;
  for (const heading of all("h1, h2, h3, h4, h5, h6").filter((node) => !node.closest("dialog"))) {
    const own = Number(heading.tagName[1]);
    say(own <= level + 1, `the heading ${heading.textContent} skips a level`);
    say(heading.textContent.trim(), "a heading is empty");
    level = own;
  }
  for (const input of all("input, select, textarea")) say(input.labels.length && input.labels[0].textContent.trim(), `the input ${input.id} has no label`);
  for (const button of all("button, a[href], summary")) say(called(button), `a ${button.localName} has no name`);
  for (const region of all("[role=region], nav, section, article, dialog")) say(called(region), `a ${region.localName} has no name`);
  for (const chart of all(".chart")) {
    say(chart.querySelector("[role=img]")?.getAttribute("aria-label")?.length > 20, `the chart ${chart.dataset.chart} says nothing`);
    say(chart.querySelector("details table"), `the chart ${chart.dataset.chart} has no table`);
  }
  for (const table of all("table")) say(table.querySelectorAll("th[scope=col]").length, "a table has no heads");
  for (const area of all(".scroll")) {
    say(area.scrollWidth <= area.clientWidth + 1 || area.tabIndex === 0 || area.querySelector("button"), "an area that scrolls cannot be scrolled by keyboard");
  }
  const ids = all("[id]").map((node) => node.id);
  say(new Set(ids).size === ids.length, "an id stands twice");
  say(all("[aria-live], [role=status]").length >= 2, "nothing is read out");
  for (const named of all("[aria-controls], [aria-labelledby]")) {
    for (const id of (named.getAttribute("aria-controls") ?? named.getAttribute("aria-labelledby")).split(" ")) say(document.getElementById(id), `there is no ${id}`);
  }
  for (const card of all(".card")) say(card.querySelector(".badge svg") && card.querySelector(".badge").textContent.trim(), `the status of ${card.dataset.group} is told by colour alone`);
  return wrong;
}

/** Goes through the page with the Tab key alone. */
async function tabThrough(page) {
  await page.evaluate(() => {
    document.activeElement?.blur();
    scrollTo(0, 0);
    const isShown = (node) => node.checkVisibility() && !node.closest("dialog, [inert]") && !node.disabled;
    window.meant = new Set([...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")].filter(isShown));
    window.order = [];
  });
  for (let tabs = 0; tabs < TABS_MAX; tabs += 1) {
    await page.keyboard.press("Tab");
    const isDone = await page.evaluate(() => {
      const node = document.activeElement;
      if (node === document.body || window.order.includes(node)) return true;
      const style = getComputedStyle(node);
      node.hasNoFocusStyle = style.outlineStyle === "none" || style.outlineWidth === "0px";
      window.order.push(node);
      return false;
    });
    if (isDone) break;
  }
  return page.evaluate(() => {
    const told = (node) => `${node.localName}${node.id && `#${node.id}`} ${(node.getAttribute("aria-label") ?? node.textContent).trim().slice(0, 30)}`;
    const missed = [...window.meant].filter((node) => node.isConnected && !window.order.includes(node)).map(told);
    const unseen = window.order.filter((node) => node.hasNoFocusStyle).map((node) => `${told(node)} (without a visible focus)`);
    return { reached: window.order.length, missed: [...missed, ...unseen] };
  });
}

/** Runs in the page: the contrast of every status, of quiet text and of the alarm, on what they stand on. */
function contrasts(statuses) {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (colour) => {
    const [red, green, blue] = rgb(colour).slice(0, 3).map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ratio = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((left, right) => left - right);
    return Math.floor(((light + 0.05) / (dark + 0.05)) * 100) / 100;
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (rgb(colour)[3] === 255) return colour;
    }
    return "white";
  };
  const of = (node) => ratio(getComputedStyle(node).color, ground(node));
  const found = {};
  const place = document.querySelector(".card-head");
  for (const status of statuses) {
    const badge = document.createElement("span");
    badge.className = "badge";
    badge.dataset.badge = status;
    place.append(badge);
    found[status] = of(badge);
    badge.remove();
  }
  for (const [what, selector] of [["text", ".reason"], ["quiet text", ".quiet"], ["labels", ".card dt"], ["links", "nav a"], ["heads", "thead th"], ["the dangerous button", ".danger"]]) {
    const node = document.querySelector(selector);
    if (node) found[what] = of(node);
  }
  const wasStale = "stale" in document.body.dataset;
  document.body.dataset.stale = "";
  found["the alarm"] = of(document.querySelector(".news"));
  if (!wasStale) delete document.body.dataset.stale;
  return found;
}
