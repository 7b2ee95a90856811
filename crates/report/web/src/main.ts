// The page of `braid report`. All data is in the page; nothing is fetched.

import "uplot/dist/uPlot.min.css";
import "./style.css";
import { bars, type Bar } from "./bars";
import { drawn } from "./canvas";
import { conflicts, type Conflicts } from "./conflicts";
import { curve } from "./curve";
import { details } from "./details";
import { button, el, section, select } from "./dom";
import { count, label, moment, percent, seat, time } from "./format";
import { gantt, lastOf, type Gantt } from "./gantt";
import { laneRows, wholeTime, work } from "./lanes";
import { modelled, models } from "./models";
import { table } from "./table";
import { startTheme } from "./theme";
import type { Block, Mean, Report, Row, Span, Task, Trace } from "./types";

const data = document.getElementById("data")?.textContent ?? "null";
const report = JSON.parse(data) as Report | { "braid-report": null };

function barOf(row: Row): Bar {
  const { profile, threads, speedup, limit, runs, median_ns } = row;
  return { profile, threads, speedup, low: row.ci95[0], high: row.ci95[1], limit, floor: row.noise_floor, runs, median_ns, hints: row.hints };
}

function meanBar(mean: Mean): Bar {
  const { profile, threads, speedup, limit } = mean;
  const [low, high] = mean.ci95 ?? [null, null];
  return { profile, threads, speedup, low, high, limit, floor: mean.noise_floor, runs: null, median_ns: null, hints: mean.foretold ? { source: "oracle", ns: 0 } : null };
}

function showSpeed(report: Report): void {
  const reference = report.reference ?? "the reference";
  const inputs = [...new Set(report.rows.map((row) => row.input))];
  const place = section(
    "speed",
    "Measured",
    `How many times as fast as ${reference} each profile executed the block: median of paired rounds.`,
  );
  const all = inputs.length > 1;
  const of = (index: number) => {
    if (all && index === 0) return report.means.map(meanBar);
    return report.rows.filter((row) => row.input === inputs[index - Number(all)]).map(barOf);
  };
  if (all) {
    const names = [`all ${inputs.length} blocks (geometric mean)`, ...inputs];
    place.append(select("Block", names, (index) => show(of(index))));
  }
  const holder = el("div");
  place.append(holder);
  const show = bars(holder, reference);
  show(of(0));
  const rooted = report.rows.filter((row) => typeof row.rooted_ns === "number");
  if (!rooted.length) return;
  const list = table<Row>("With the state root: execution and root together, the root begun while the block executes", [
    { head: "block", words: true, cell: (row) => row.input },
    { head: "profile", words: true, cell: (row) => seat(row.profile, row.threads) },
    { head: "execution", cell: (row) => time(row.median_ns), value: (row) => row.median_ns },
    { head: "with the root", cell: (row) => time(row.rooted_ns ?? 0), value: (row) => row.rooted_ns ?? 0 },
    { head: "adds", cell: (row) => `${((row.root_adds ?? 0) * 100).toFixed(1)}%`, value: (row) => row.root_adds ?? 0 },
  ]);
  list.show(rooted);
  place.append(list.element);
}

function showResults(report: Report): void {
  const place = section("runs", "Executed", "One execution of each block, cold.");
  const optional = (ns: number | undefined) => (ns === undefined ? "–" : time(ns));
  const kept = (row: Report["results"][0]) => row.disk ? row.disk.archive_ns + row.disk.write_ns + row.disk.sync_ns : undefined;
  const list = table(
    "Blocks",
    [
      { head: "block", words: true, cell: (row: Report["results"][0]) => row.input },
      { head: "profile", words: true, cell: (row) => seat(row.profile, row.threads) },
      { head: "transactions", cell: (row) => count(row.txs ?? 0), value: (row) => row.txs ?? 0 },
      { head: "time", cell: (row) => (row.elapsed_ns === null ? "–" : time(row.elapsed_ns)), value: (row) => row.elapsed_ns ?? 0 },
      ...(report.results.some((row) => row.root)
        ? [
            { head: "root ahead", cell: (row: Report["results"][0]) => optional(row.root?.ahead_ns), value: (row: Report["results"][0]) => row.root?.ahead_ns ?? 0 },
            { head: "root after", cell: (row: Report["results"][0]) => optional(row.root?.after_ns), value: (row: Report["results"][0]) => row.root?.after_ns ?? 0 },
          ]
        : []),
      ...(report.results.some((row) => row.disk)
        ? [{ head: "disk", cell: (row: Report["results"][0]) => optional(kept(row)), value: (row: Report["results"][0]) => kept(row) ?? 0 }]
        : []),
      { head: "executions", cell: (row) => count(row.executions ?? 0), value: (row) => row.executions ?? 0 },
      { head: "thrown away", cell: (row) => count(row.retries ?? 0), value: (row) => row.retries ?? 0 },
      { head: "status", words: true, cell: (row) => row.status },
    ],
    true,
  );
  list.show(report.results);
  place.append(list.element);
}

/** Blocks with their schedules: charts that share one chosen transaction. */
function showBlocks(report: Report): void {
  const blocks = report.blocks;
  let block: Block | undefined;
  let trace: Trace | undefined;
  let chart: Gantt | undefined;
  let graph: Conflicts | undefined;

  const chooser = el("div", { class: "choices" });
  if (blocks.length > 1) section("block", "Block by block", "What follows is about one block.").append(chooser);
  const analyzed = blocks.some((block) => block.analysis);
  const recorded = blocks.some((block) => block.traces.length);
  const limits = analyzed || blocks.some(modelled)
    ? section(
        "virtual",
        "What the block allows (virtual)",
        "Schedules of the block's dependencies on workers that cost nothing, from the times of a serial run. Not measured: a bound to hold measurements against.",
      )
    : undefined;
  const drawCurve = limits && analyzed ? curve(limits) : undefined;
  const showModels = limits && blocks.some(modelled) ? models(limits) : undefined;

  const schedule = recorded ? section("schedule", "Schedule", "") : undefined;
  const facts = el("p", { class: "about" });
  const traces = el("div", { class: "choices" });
  const find = el("input", { type: "number", min: "0", step: "1", "aria-label": "transaction number", placeholder: "number" });
  const panel = el("aside", { id: "story", "aria-live": "polite" });
  panel.hidden = true;
  const tasks = table<{ task: Task; index: number }>(
    "The executions",
    [
      { head: "transaction", words: true, cell: (row) => String(row.task.tx), value: (row) => row.task.tx },
      { head: "execution", cell: (row) => String(row.task.incarnation), value: (row) => row.task.incarnation },
      { head: "worker", cell: (row) => String(row.task.worker), value: (row) => row.task.worker },
      { head: "start", cell: (row) => moment(row.task.start_ns), value: (row) => row.task.start_ns },
      { head: "time", cell: (row) => time(row.task.end_ns - row.task.start_ns), value: (row) => row.task.end_ns - row.task.start_ns },
      { head: "fate", words: true, cell: (row) => row.task.fate },
    ],
    false,
    (row) => choose(row.task.tx, row.index),
  );
  const costs = table<Trace["costs"][0]>("What each location cost this schedule", [
    { head: "location", words: true, cell: (row) => label(trace?.keys[row.key]) },
    { head: "thrown away", cell: (row) => count(row.aborts), value: (row) => row.aborts },
    { head: "waits", cell: (row) => count(row.waits), value: (row) => row.waits },
    { head: "cost", cell: (row) => time(row.cost_ns), value: (row) => row.cost_ns },
  ]);
  const besides = table<Span>("The lanes: execution, root, disk", [
    { head: "lane", words: true, cell: (row) => row.lane },
    { head: "what", words: true, cell: (row) => row.what },
    { head: "start", cell: (row) => moment(row.start_ns), value: (row) => row.start_ns },
    { head: "time", cell: (row) => time(row.end_ns - row.start_ns), value: (row) => row.end_ns - row.start_ns },
    { head: "at work", cell: (row) => time(work(row)), value: work },
  ]);
  if (schedule) {
    const go = button("show", "show this transaction", () => find.value !== "" && choose(Number(find.value)));
    find.addEventListener("keydown", (event) => event.key === "Enter" && go.click());
    schedule.append(traces, facts, el("div", { class: "tools" }, el("label", { class: "choice" }, "Transaction ", find), go));
    const holder = el("div");
    schedule.append(holder);
    chart = gantt(holder, choose);
    schedule.append(panel, besides.element, tasks.element, costs.element);
  }
  if (analyzed) {
    const place = section("conflicts", "Conflicts", "");
    graph = conflicts(place, (tx) => choose(tx));
    if (!schedule) place.append(panel);
  }

  function choose(tx: number, task?: number): void {
    history.replaceState(null, "", `#tx=${tx}`);
    const index = task ?? (trace ? lastOf(trace, tx) : undefined);
    chart?.mark(tx, index);
    graph?.mark(tx);
    details(panel, trace, block?.analysis ?? undefined, tx, (other) => choose(other));
  }

  function showTrace(index: number): void {
    trace = block?.traces[index];
    panel.hidden = true;
    if (block?.analysis) graph?.show(block.analysis, trace);
    if (!trace) return;
    const { totals } = trace;
    const lost = trace.lost ? ` ${count(trace.lost)} events were dropped: there are gaps.` : "";
    facts.textContent =
      `${seat(trace.profile, trace.threads)} (${trace.scheduler}): ${time(trace.elapsed_ns)} for ${count(trace.txs)} transactions, ` +
      `telling of events included; ${count(totals.executions)} executions, ${count(totals.aborted)} thrown away, ` +
      `${count(totals.blocked)} stopped to wait (${percent(totals.wasted_ns, totals.busy_ns)} of the time at work); ` +
      `${count(totals.waits)} waits, ${time(totals.waited_ns)} in all. Workers were at work for ` +
      `${percent(totals.busy_ns, trace.elapsed_ns * trace.threads)} of the time.${lost}`;
    const lanes = laneRows(trace);
    besides.element.hidden = lanes.length === 0;
    if (lanes.length) {
      const times = lanes.map(({ name, spans }) => `${name} ${time(spans.reduce((sum, span) => sum + work(span), 0))}`);
      facts.textContent += ` Lanes at work: ${times.join(", ")}; ${time(wholeTime(trace))} from beginning to end.`;
    }
    besides.show(lanes.flatMap((lane) => lane.spans));
    chart?.show(trace);
    tasks.show(trace.tasks.map((task, index) => ({ task, index })));
    costs.show(trace.costs);
  }

  function showBlock(index: number): void {
    block = blocks[index];
    if (!block) return;
    showModels?.(block);
    if (block.analysis) drawCurve?.(block.analysis, report.rows.filter((row) => row.input === block?.input));
    traces.replaceChildren();
    // First the one with most to see.
    const first = Math.max(0, block.traces.findIndex((one) => block?.traces.every((other) => one.threads >= other.threads)));
    if (block.traces.length > 1) {
      const names = block.traces.map((trace) => seat(trace.profile, trace.threads));
      traces.append(select("Schedule of", names, showTrace, first));
    }
    showTrace(first);
  }

  if (blocks.length > 1) chooser.append(select("Block", blocks.map((block) => block.input), showBlock));
  showBlock(0);
  const follow = () => {
    const tx = /^#tx=(-?\d+)$/.exec(location.hash)?.[1];
    if (tx !== undefined) choose(Number(tx));
  };
  addEventListener("hashchange", follow);
  follow();
}

function showOrigin(report: Report): void {
  const { run } = report;
  const { machine } = run;
  const place = section("origin", "Where this comes from", "");
  const when = run.finished_unix ? new Date(run.finished_unix * 1000).toISOString().replace(".000Z", " UTC").replace("T", " ") : "unknown";
  const cpu = machine.cpu ?? machine.arch;
  const facts: [string, string][] = [
    ["command", `braid ${run.arguments.join(" ")}`],
    ["version", run.version],
    ["finished", when],
    ["seed", run.seed],
    ["machine", `${cpu}, ${machine.physical_cores} cores, ${machine.usable_cores} processors usable, ${machine.os}`],
  ];
  const list = el("dl");
  for (const [name, value] of facts) list.append(el("dt", {}, name), el("dd", {}, value));
  place.append(list);
}

function start(report: Report): void {
  document.title = `Braid: ${report.verdict}`;
  const toggle = button("◐", "light or dark", () => undefined);
  const notes = el("ul", { class: "notes" });
  for (const note of report.notes.slice(0, 12)) notes.append(el("li", {}, note));
  if (report.notes.length > 12) notes.append(el("li", {}, `and ${count(report.notes.length - 12)} more notes`));
  document.querySelector("header")?.append(toggle, el("p", { class: "brand" }, "Braid report"), el("h1", {}, report.verdict), notes);
  startTheme(toggle);
  if (report.rows.length) showSpeed(report);
  if (report.results.length) showResults(report);
  if (report.blocks.length) showBlocks(report);
  showOrigin(report);
}

// For tests: what was drawn.
(globalThis as unknown as { braidDrawn: typeof drawn }).braidDrawn = drawn;
if (report && "version" in report) start(report);
