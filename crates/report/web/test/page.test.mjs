// The page in a real browser: charts draw, clicking works, nothing is complained of, and what is drawn is bounded.
// Skipped, loudly, where there is no Chromium (Debian's package, or $CHROMIUM).

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { page as render, report } from "./sample.mjs";

const CHROMIUM = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => path && existsSync(path));
const HTML = readFileSync(new URL("../dist/report.html", import.meta.url), "utf8");

const puppeteer = await import("puppeteer-core").then((found) => found.default, () => undefined);

let browser;
let folder;
const missing = CHROMIUM ? "no node_modules: run `npm ci`" : "no Chromium: set CHROMIUM or install the package `chromium`";
const skip = CHROMIUM && puppeteer ? false : missing;
if (skip) console.error(`page tests are skipped: ${skip}`);

before(async () => {
  if (skip) return;
  folder = mkdtempSync(join(tmpdir(), "braid-report-"));
  browser = await puppeteer.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
});

after(async () => {
  await browser?.close();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

/** Opens the page with a report in it, in a browser that has no network; fails on anything that is complained of. */
async function open(document, { hash = "", scheme = "light", width = 1200 } = {}) {
  const file = join(folder, `report-${Math.random().toString(36).slice(2)}.html`);
  writeFileSync(file, render(HTML, document));
  const tab = await browser.newPage();
  const complaints = [];
  tab.on("console", (message) => complaints.push(message.text()));
  tab.on("pageerror", (error) => complaints.push(String(error)));
  tab.on("requestfailed", (request) => complaints.push(`asked for ${request.url()}`));
  tab.on("request", (request) => request.url().startsWith("file:") || complaints.push(`asked for ${request.url()}`));
  await tab.setOfflineMode(true);
  await tab.setViewport({ width, height: 900 });
  await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await tab.goto(pathToFileURL(file).href + hash);
  await settled(tab);
  return { tab, complaints };
}

/** Two frames later, everything that was asked for is drawn. */
const settled = (tab) =>
  tab.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50)))));

/** Share of a canvas's pixels that are painted, and how many colours there are. */
const painted = (tab, selector) =>
  tab.$eval(selector, (canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const colors = new Set();
    let full = 0;
    for (let at = 0; at < data.length; at += 4) {
      if (data[at + 3] === 0) continue;
      full += 1;
      colors.add((data[at] << 16) | (data[at + 1] << 8) | data[at + 2]);
    }
    return { share: full / (data.length / 4), colors: colors.size };
  });

test("every chart draws, in light and dark, and nothing is complained of", { skip }, async () => {
  const seen = {};
  for (const scheme of ["light", "dark"]) {
    const { tab, complaints } = await open(report(2_000), { scheme });
    for (const chart of ["#speed canvas", "#virtual canvas", "#schedule canvas", "#conflicts canvas"]) {
      const { share, colors } = await painted(tab, chart);
      assert.ok(share > 0.01 && colors > 3, `${scheme} ${chart}: ${share} painted in ${colors} colours`);
    }
    seen[scheme] = await tab.$eval("body", (body) => getComputedStyle(body).backgroundColor);
    // The switch turns one into the other.
    await tab.click("header > button");
    await settled(tab);
    seen[`${scheme} switched`] = await tab.$eval("body", (body) => getComputedStyle(body).backgroundColor);
    assert.deepEqual(complaints, []);
    await tab.close();
  }
  assert.notEqual(seen.light, seen.dark);
  assert.equal(seen["light switched"], seen.dark);
  assert.equal(seen["dark switched"], seen.light);
});

test("the verdict, the notes and a table behind every chart are there as text", { skip }, async () => {
  const { tab, complaints } = await open(report(500));
  assert.match(await tab.$eval("h1", (title) => title.textContent), /3\.42 times as fast as lean/);
  assert.match(await tab.$eval(".notes", (notes) => notes.textContent), /made up for a test/);
  for (const place of ["#speed", "#virtual", "#schedule", "#conflicts"]) {
    const tables = await tab.$$(`${place} details.table`);
    assert.ok(tables.length > 0, `${place} has a table`);
    for (const table of tables) await table.evaluate((details) => (details.open = true));
    await settled(tab);
    const rows = await tab.$$eval(`${place} tbody`, (bodies) => bodies.map((body) => body.childElementCount));
    assert.ok(rows.every((count) => count > 0 && count <= 20), `${place}: ${rows}`);
  }
  // Computed times say so, and are not among the measured ones.
  const virtual = await tab.$eval("#virtual", (place) => place.textContent);
  assert.match(virtual, /own model of conflicts \(virtual\)/);
  assert.match(virtual, /braid, 4 threads/);
  assert.match(virtual, /Not measured/);
  // Names come from outside: they are text.
  assert.equal(await tab.$$eval("td b, li b, canvas b", (bold) => bold.length), 0);
  assert.ok((await tab.$eval("#conflicts", (place) => place.textContent)).includes("<b>not markup</b>"));
  assert.deepEqual(complaints, []);
  await tab.close();
});

test("a click on a slice tells its story, and so does a link", { skip }, async () => {
  const document = report(400);
  const trace = document.blocks[0].traces[0];
  const { tab, complaints } = await open(document);
  await tab.$eval("#schedule canvas", (canvas) => canvas.scrollIntoView({ block: "center" }));
  const box = await (await tab.$("#schedule canvas")).boundingBox();
  assert.ok(await tab.$eval("#story", (panel) => panel.hidden));
  await tab.mouse.click(box.x + box.width / 2, box.y + 12);
  await settled(tab);
  assert.match(await tab.$eval("#story h3", (head) => head.textContent), /^transaction \d+$/);
  const hash = await tab.evaluate(() => location.hash);
  assert.match(hash, /^#tx=\d+$/);
  const tx = Number(hash.slice(4));
  assert.ok(trace.tasks.some((task) => task.tx === tx && task.worker === 0), `transaction ${tx} is of the row clicked`);

  const abort = trace.aborts[0];
  await tab.evaluate((tx) => void (location.hash = `#tx=${tx}`), abort.tx);
  await settled(tab);
  const story = await tab.$eval("#story", (panel) => panel.textContent);
  assert.ok(story.includes(`Thrown away: transaction ${abort.by} changed`), story);
  assert.ok(story.includes("Reads that others share"), story);
  // From the story to the one who caused it.
  await tab.click("#story .why button");
  await settled(tab);
  assert.equal(await tab.$eval("#story h3", (head) => head.textContent), `transaction ${abort.by}`);
  assert.deepEqual(complaints, []);
  await tab.close();
});

test("lanes of execution, root and disk stand below the workers", { skip }, async () => {
  const document = report(600);
  const { tab, complaints } = await open(document);
  const workers = new Set(document.blocks[0].traces[0].tasks.map((task) => task.worker)).size;
  const rows = workers + 3;
  /** Colours of rows, left to right, as text. */
  const colors = (first, count) =>
    tab.$eval(
      "#schedule canvas",
      (canvas, first, count, rows) => {
        const ratio = window.devicePixelRatio || 1;
        const high = Math.max(5, Math.min(30, Math.floor(420 / rows)));
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return Array.from({ length: count }, (_, row) => {
          const line = Math.round(((first + row) * high + high - 4) * ratio) * canvas.width * 4;
          return Array.from({ length: canvas.width }, (_, x) => {
            const [red, green, blue, alpha] = data.slice(line + x * 4, line + x * 4 + 4);
            return alpha < 255 ? "" : `#${[red, green, blue].map((part) => part.toString(16).padStart(2, "0")).join("")}`;
          });
        });
      },
      first,
      count,
      rows,
    );
  const share = (colors, color, [from, to]) => {
    const part = colors.slice(Math.round(colors.length * from), Math.round(colors.length * to));
    return part.filter((one) => one === color).length / part.length;
  };
  // The block lasts two thirds of what is shown, beside the names.
  const [execution, root, disk] = await colors(workers, 3);
  assert.ok(share(execution, "#93a5bb", [0.1, 0.65]) > 0.9, "execution lasts as long as the workers");
  assert.equal(share(execution, "#93a5bb", [0.75, 1]), 0);
  assert.ok(share(root, "#009e73", [0.3, 0.65]) > 0.9 && share(root, "#009e73", [0.7, 0.8]) > 0.9, "the root goes on");
  assert.ok(share(disk, "#cc79a7", [0.85, 0.98]) > 0.9 && share(disk, "#cc79a7", [0.1, 0.7]) === 0, "then the disk");
  assert.match(await tab.$eval("#schedule .legend", (legend) => legend.textContent), /execution root disk/);
  assert.match(await tab.$eval("#schedule .about", (about) => about.textContent), /Lanes at work: execution .*, root .*, disk /);
  const lanes = "#schedule details.table:first-of-type";
  await tab.$eval(lanes, (details) => (details.open = true));
  await settled(tab);
  const cells = await tab.$$eval(`${lanes} tbody tr`, (all) => all.map((one) => one.textContent));
  assert.equal(cells.length, 5);
  assert.ok(cells[1].startsWith("rootahead") && cells[4].startsWith("disksync"), cells.join("; "));
  // The other schedule has none.
  await tab.select("#schedule select", "1");
  await settled(tab);
  assert.ok(await tab.$eval(lanes, (details) => details.hidden));
  assert.doesNotMatch(await tab.$eval("#schedule .legend", (legend) => legend.textContent), /disk/);
  await tab.$$eval("#speed details.table", (all) => all.forEach((details) => (details.open = true)));
  await settled(tab);
  assert.match(await tab.$eval("#speed", (place) => place.textContent), /With the state root.*12\.3%/s);
  assert.deepEqual(complaints, []);
  await tab.close();
});

test("zooming and moving change what is drawn, and the whole block comes back", { skip }, async () => {
  const { tab, complaints } = await open(report(3_000));
  const picture = () => tab.$eval("#schedule canvas", (canvas) => canvas.toDataURL());
  const whole = await picture();
  await tab.focus("#schedule canvas");
  for (const key of ["+", "+", "+", "ArrowRight"]) await tab.keyboard.press(key);
  await settled(tab);
  const near = await picture();
  assert.notEqual(near, whole);
  const box = await (await tab.$("#schedule canvas")).boundingBox();
  await tab.mouse.move(box.x + 300, box.y + 20);
  await tab.mouse.down();
  await tab.mouse.move(box.x + 500, box.y + 20, { steps: 4 });
  await tab.mouse.up();
  await tab.mouse.move(box.x + 300, box.y - 40);
  await settled(tab);
  assert.notEqual(await picture(), near);
  assert.ok(await tab.$eval("#story", (panel) => panel.hidden), "dragging is no click");
  await tab.focus("#schedule canvas");
  await tab.keyboard.press("Home");
  await settled(tab);
  assert.equal(await picture(), whole);
  assert.deepEqual(complaints, []);
  await tab.close();
});

test("a location of the table shows its edges alone", { skip }, async () => {
  const { tab, complaints } = await open(report(2_000));
  const about = () => tab.$eval("#conflicts .about", (text) => text.textContent);
  assert.match(await about(), /of the hottest locations/);
  await tab.click("#conflicts tbody tr:nth-child(2) button");
  await settled(tab);
  assert.match(await about(), /of token balance of 0x3333/);
  assert.deepEqual(complaints, []);
  await tab.close();
});

test("what is drawn does not grow with the block", { skip }, async () => {
  const [small, large] = [await cost(report(1_000)), await cost(report(10_000))];
  assert.ok(large.nodes < 800, `${large.nodes} elements with 10,000 transactions`);
  assert.ok(large.nodes <= small.nodes + 60, `${small.nodes} elements grow to ${large.nodes}`);
  // Four rows, a canvas of 1,160 pixels, and at most one call for each column and kind.
  assert.ok(large.calls < 12_000, `${large.calls} calls in the dearest frame`);
});

/** Elements, and calls of the dearest frame, with every table open and the schedule at several zooms. */
async function cost(document) {
  const { tab, complaints } = await open(document);
  await tab.$$eval("details", (all) => all.forEach((details) => (details.open = true)));
  await tab.focus("#schedule canvas");
  for (let zoom = 0; zoom < 16; zoom++) {
    await tab.keyboard.press("+");
    await settled(tab);
  }
  const found = await tab.evaluate(() => ({
    nodes: document.querySelectorAll("*").length,
    calls: globalThis.braidDrawn.calls,
    frames: globalThis.braidDrawn.frames,
  }));
  assert.ok(found.frames > 10 && found.calls > 100, JSON.stringify(found));
  assert.deepEqual(complaints, []);
  await tab.close();
  return found;
}

test("what there is little of makes no empty charts", { skip }, async () => {
  const full = report(50);
  const parts = [
    { ...full, rows: [], means: [], reference: null },
    { ...full, blocks: [] },
    { ...full, blocks: [{ ...full.blocks[0], analysis: null }] },
    { ...full, blocks: [{ ...full.blocks[0], traces: [] }] },
    { ...full, blocks: [{ ...full.blocks[0], analysis: null, traces: full.blocks[0].traces.map((one) => ({ ...one, model: undefined })) }] },
    { ...full, rows: [], means: [], blocks: [] },
  ];
  for (const [index, part] of parts.entries()) {
    const { tab, complaints } = await open(part, { hash: "#tx=3", width: 420 });
    assert.deepEqual(complaints, [], `part ${index}`);
    const wide = await tab.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 420, `part ${index} is ${wide} wide on a narrow screen`);
    assert.equal(await tab.$$eval("#speed", (found) => found.length), part.rows.length ? 1 : 0);
    await tab.close();
  }
});
