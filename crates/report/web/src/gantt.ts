// Who executed what and when: a row for each worker and lane, a slice for each execution; below them what the block
// takes besides its workers (`lanes.ts`).
//
// Slices narrower than a pixel are drawn together, by column, as the gravest among them: so what a frame draws is
// bounded by the pixels, not by the block.

import { gestures, surface, type Surface } from "./canvas";
import { button, el } from "./dom";
import { label, moment, time, txName } from "./format";
import { laneRows, paintSpans, spanWords, wholeTime, type LaneRow } from "./lanes";
import { colors, onTheme, type Colors } from "./theme";
import type { Fate, Task, Trace } from "./types";

const LEFT = 84;
const AXIS = 24;
const FATES: Fate[] = ["committed", "open", "blocked", "aborted"];
const GRAVITY: Record<Fate, number> = { committed: 0, open: 1, blocked: 2, aborted: 3 };

interface Lane {
  worker: number;
  lane: number;
  /** Indices of executions, by their start; they do not overlap. */
  tasks: number[];
}

export interface Gantt {
  show(trace: Trace): void;
  /** Marks the executions of a transaction, and brings one into view. */
  mark(tx: number | undefined, task?: number): void;
}

export function gantt(holder: HTMLElement, pick: (tx: number, task: number) => void): Gantt {
  let trace: Trace | undefined;
  let lanes: Lane[] = [];
  let besides: LaneRow[] = [];
  let rowOf = new Map<number, number>();
  let waits = new Map<number, [number, number][]>();
  let [begin, end] = [0, 1];
  let scroll = 0;
  let marked: number | undefined;
  let markedTask: number | undefined;
  let pointed: { x: number; y: number; text: string } | undefined;

  const tools = el(
    "div",
    { class: "tools" },
    button("+", "zoom in", () => zoom(1.6, (LEFT + view.width) / 2)),
    button("−", "zoom out", () => zoom(1 / 1.6, (LEFT + view.width) / 2)),
    button("whole block", "show the whole block", reset),
    el("span", { class: "hint" }, "drag to move; wheel (after a click, or with Ctrl) or + and − to zoom; click a slice for its story"),
  );
  const box = el("div", { class: "canvas" });
  const legend = el("p", { class: "legend" });
  const kinds: [string, string][] = [
    ["committed", "became final"],
    ["aborted", "thrown away (hatched)"],
    ["blocked", "stopped to wait, begins again"],
    ["wait", "waits inside (thin stripe)"],
    ["open", "left open"],
  ];
  for (const [kind, text] of kinds) legend.append(el("span", { class: `mark box ${kind}` }), `${text} `);
  const laneLegend = el("span");
  legend.append(laneLegend);
  holder.append(tools, box, legend);

  const rows = () => lanes.length + besides.length;
  const rowHeight = () => Math.max(5, Math.min(30, Math.floor(420 / Math.max(1, rows()))));
  const height = () => Math.min(520, rowHeight() * Math.max(1, rows())) + AXIS;
  const { surface: view, ask } = surface(box, "Schedule: rows are workers, slices are executions of transactions", height, paint);
  const x = (ns: number) => LEFT + ((ns - begin) / (end - begin)) * (view.width - LEFT);
  const ns = (px: number) => begin + ((px - LEFT) / (view.width - LEFT)) * (end - begin);

  function clampView(): void {
    const whole = Math.max(1, trace ? wholeTime(trace) : 1);
    const width = Math.min(Math.max(end - begin, 20), whole);
    begin = Math.max(0, Math.min(begin, whole - width));
    end = begin + width;
    const most = Math.max(0, rowHeight() * rows() + AXIS - height());
    scroll = Math.max(0, Math.min(scroll, most));
    ask();
  }
  function zoom(factor: number, at: number): void {
    const fixed = ns(Math.max(LEFT, at));
    begin = fixed - (fixed - begin) / factor;
    end = fixed + (end - fixed) / factor;
    clampView();
  }
  function reset(): void {
    [begin, end, scroll] = [0, trace ? wholeTime(trace) : 1, 0];
    clampView();
  }

  /** The first execution of a lane that ends after a time. */
  function firstAfter(lane: Lane, time: number): number {
    let [low, high] = [0, lane.tasks.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const task = trace?.tasks[lane.tasks[middle] ?? 0];
      if (task && task.end_ns > time) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  function find(px: number, py: number): number | undefined {
    const row = Math.floor((py + scroll) / rowHeight());
    const lane = lanes[row];
    if (!trace || !lane || px < LEFT || py > view.height - AXIS) return undefined;
    const slack = ((end - begin) / (view.width - LEFT)) * 2;
    let best: number | undefined;
    let distance = Infinity;
    for (let index = firstAfter(lane, ns(px) - slack); index < lane.tasks.length; index++) {
      const at = lane.tasks[index] ?? 0;
      const task = trace.tasks[at];
      if (!task || task.start_ns > ns(px) + slack) break;
      const off = Math.max(task.start_ns - ns(px), ns(px) - task.end_ns, 0);
      if (off < distance) [best, distance] = [at, off];
    }
    return best;
  }

  function paint(view: Surface): void {
    if (!trace) return;
    const { context } = view;
    const ink = colors();
    const row = rowHeight();
    const bottom = view.height - AXIS;
    const patterns = new Map<Fate, string | CanvasPattern>(FATES.map((fate) => [fate, fill(context, ink, fate)]));
    context.save();
    context.beginPath();
    context.rect(0, 0, view.width, bottom);
    context.clip();
    const first = Math.floor(scroll / row);
    const last = Math.min(rows(), Math.ceil((scroll + bottom) / row));
    for (let index = first; index < last; index++) {
      const lane = lanes[index];
      if (lane) paintLane(view, lane, index * row - scroll, row, patterns, ink);
      const beside = besides[index - lanes.length];
      const place: [number, number] = [index * row - scroll + 1, Math.max(3, row - 2)];
      if (beside) paintSpans(view, beside, place, x, [LEFT, begin, end], ink);
    }
    paintMarks(view, row, ink);
    context.restore();
    paintAxis(view, bottom, ink);
    paintNames(view, first, last, row, bottom, ink);
    paintHover(view, ink);
  }

  function paintLane(
    view: Surface,
    lane: Lane,
    top: number,
    row: number,
    patterns: Map<Fate, string | CanvasPattern>,
    ink: Colors,
  ): void {
    if (!trace) return;
    const { context } = view;
    const high = Math.max(3, row - 2);
    const paths = new Map<Fate, Path2D>();
    const stripes = new Path2D();
    const names: [string, number, number][] = [];
    let striped = 0;
    const add = (fate: Fate, from: number, width: number) => {
      let path = paths.get(fate);
      if (!path) paths.set(fate, (path = new Path2D()));
      path.rect(from, top + 1, width, high);
      view.call();
    };
    // The column that small slices are gathered in, and the gravest fate there.
    let column = -1;
    let gravest: Fate = "committed";
    const flush = () => {
      if (column >= 0) add(gravest, column, 1);
      column = -1;
    };
    for (let index = firstAfter(lane, begin); index < lane.tasks.length; index++) {
      const at = lane.tasks[index] ?? 0;
      const task = trace.tasks[at];
      if (!task || task.start_ns > end) break;
      const [from, to] = [Math.max(LEFT, x(task.start_ns)), Math.min(view.width, x(task.end_ns))];
      if (to - from < 1) {
        const here = Math.floor(from);
        if (here !== column) {
          flush();
          [column, gravest] = [here, task.fate];
        } else if (GRAVITY[task.fate] > GRAVITY[gravest]) {
          gravest = task.fate;
        }
        continue;
      }
      flush();
      add(task.fate, from, to - from - (to - from > 3 ? 1 : 0));
      if (to - from > 4) {
        for (const [start, stop] of waits.get(at) ?? []) {
          const [left, right] = [Math.max(LEFT, x(start)), Math.min(view.width, x(Math.min(stop, task.end_ns)))];
          if (right - left < 1 || striped > view.width) continue;
          striped += 1;
          stripes.rect(left, top + 1 + high * 0.4, right - left, Math.max(1, high * 0.2));
        }
      }
      if (high >= 13 && to - from > 30) names.push([String(task.tx), from + 3, to - from - 6]);
    }
    flush();
    for (const [fate, path] of paths) {
      context.fillStyle = patterns.get(fate) ?? ink.open;
      context.fill(path);
      view.call();
    }
    context.fillStyle = ink.wait;
    context.fill(stripes);
    view.call(1 + striped);
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.textAlign = "left";
    for (const [text, left, wide] of names) {
      if (text.length * 6.2 > wide) continue;
      context.fillStyle = "#000000";
      context.fillText(text, left, top + 1 + high / 2);
      view.call();
    }
  }

  /** Outlines of the executions of the marked transaction, and a line from who made one void. */
  function paintMarks(view: Surface, row: number, ink: Colors): void {
    if (!trace || marked === undefined) return;
    const { context } = view;
    const middle = (task: number) => (rowOf.get(task) ?? 0) * row - scroll + row / 2;
    context.strokeStyle = ink.mark;
    context.lineWidth = 2;
    let outlined = 0;
    trace.tasks.forEach((task, index) => {
      if (task.tx !== marked || outlined > 200) return;
      const [from, to] = [x(task.start_ns), x(task.end_ns)];
      if (to < LEFT || from > view.width) return;
      outlined += 1;
      const [left, right] = [Math.max(LEFT, from), Math.min(view.width, to)];
      context.strokeRect(left, middle(index) - row / 2 + 1, Math.max(3, right - left), Math.max(3, row - 2));
      view.call();
    });
    context.setLineDash([4, 3]);
    context.lineWidth = 1.5;
    for (const abort of trace.aborts) {
      if (abort.tx !== marked || abort.by === null || abort.task === null || outlined > 400) continue;
      const by = writer(trace, abort.by, abort.at_ns);
      const mine = trace.tasks[abort.task];
      const theirs = by === undefined ? undefined : trace.tasks[by];
      if (by === undefined || !mine || !theirs) continue;
      outlined += 1;
      context.beginPath();
      context.moveTo(Math.max(LEFT, x(Math.min(theirs.end_ns, abort.at_ns))), middle(by));
      context.lineTo(Math.max(LEFT, x(mine.end_ns)), middle(abort.task));
      context.stroke();
      view.call();
    }
    context.setLineDash([]);
  }

  function paintAxis(view: Surface, bottom: number, ink: Colors): void {
    const { context } = view;
    context.strokeStyle = ink.grid;
    context.fillStyle = ink.faint;
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    const step = nice(((end - begin) / (view.width - LEFT)) * 110);
    context.beginPath();
    for (let tick = Math.ceil(begin / step) * step; tick <= end; tick += step) {
      context.moveTo(x(tick), bottom);
      context.lineTo(x(tick), bottom + 5);
      if (x(tick) < view.width - 20) context.fillText(moment(tick, step), Math.max(LEFT + 14, x(tick)), bottom + 14);
      view.call();
    }
    context.moveTo(LEFT, bottom + 0.5);
    context.lineTo(view.width, bottom + 0.5);
    context.stroke();
    view.call();
  }

  function paintNames(view: Surface, first: number, last: number, row: number, bottom: number, ink: Colors): void {
    const { context } = view;
    context.save();
    context.beginPath();
    context.rect(0, 0, LEFT, bottom);
    context.clip();
    context.clearRect(0, 0, LEFT - 1, bottom);
    context.fillStyle = ink.ink;
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.font = "12px system-ui, sans-serif";
    let free = -Infinity;
    for (let index = first; index < last; index++) {
      const lane = lanes[index];
      const y = index * row - scroll + row / 2;
      if (y < free) continue;
      free = y + 14;
      context.fillStyle = !lane || lane.lane === 0 ? ink.ink : ink.faint;
      const name = !lane ? (besides[index - lanes.length]?.name ?? "") : lane.lane === 0 ? `worker ${lane.worker}` : "  parked";
      context.fillText(name, 2, y);
      view.call();
    }
    context.restore();
  }

  function paintHover(view: Surface, ink: Colors): void {
    if (!pointed) return;
    const { context } = view;
    context.font = "12px system-ui, sans-serif";
    const lines = pointed.text.split("\n");
    const wide = Math.max(...lines.map((line) => context.measureText(line).width)) + 16;
    const tall = lines.length * 16 + 10;
    const left = Math.min(pointed.x + 12, view.width - wide - 2);
    const top = pointed.y + 14 + tall > view.height ? Math.max(0, pointed.y - tall - 6) : pointed.y + 14;
    context.fillStyle = ink.panel;
    context.strokeStyle = ink.faint;
    context.lineWidth = 1;
    context.fillRect(left, top, wide, tall);
    context.strokeRect(left + 0.5, top + 0.5, wide - 1, tall - 1);
    context.fillStyle = ink.ink;
    context.textAlign = "left";
    context.textBaseline = "middle";
    lines.forEach((line, index) => context.fillText(line, left + 8, top + 13 + index * 16));
    view.call(2 + lines.length);
  }

  gestures(view.canvas, {
    move(dx, dy) {
      const by = (dx / (view.width - LEFT)) * (end - begin);
      [begin, end, scroll] = [begin - by, end - by, scroll - dy];
      clampView();
    },
    zoom: (factor, at) => zoom(factor, at),
    reset,
    click(px, py) {
      const task = find(px, py);
      if (task !== undefined && trace) pick(trace.tasks[task]?.tx ?? 0, task);
    },
    hover(px, py) {
      const task = find(px, py);
      const before = pointed;
      const beside = px < LEFT || py > view.height - AXIS ? undefined : besides[Math.floor((py + scroll) / rowHeight()) - lanes.length];
      const slack = ((end - begin) / (view.width - LEFT)) * 2;
      const text = task !== undefined && trace ? words(trace, task) : beside && spanWords(beside, ns(px), slack);
      pointed = text === undefined ? undefined : { x: px, y: py, text };
      view.canvas.style.cursor = task === undefined ? "grab" : "pointer";
      if (pointed || before) ask();
    },
    leave() {
      if (pointed) ask();
      pointed = undefined;
    },
  });
  onTheme(ask);

  return {
    show(next) {
      trace = next;
      ({ lanes, rowOf } = arrange(next));
      besides = laneRows(next);
      laneLegend.replaceChildren();
      for (const { name } of besides) laneLegend.append(el("span", { class: `mark box ${name}` }), `${name} `);
      waits = new Map();
      for (const wait of next.waits) {
        if (wait.task === null) continue;
        const list = waits.get(wait.task) ?? [];
        list.push([wait.at_ns, wait.until_ns]);
        waits.set(wait.task, list);
      }
      [marked, markedTask, pointed] = [undefined, undefined, undefined];
      reset();
    },
    mark(tx, task) {
      [marked, markedTask] = [tx, task];
      if (tx !== undefined && trace) {
        const of = markedTask ?? lastOf(trace, tx);
        const there = of === undefined ? undefined : trace.tasks[of];
        if (there && of !== undefined) {
          const width = end - begin;
          if (there.end_ns < begin || there.start_ns > end) {
            begin = (there.start_ns + there.end_ns - width) / 2;
            end = begin + width;
          }
          const y = (rowOf.get(of) ?? 0) * rowHeight();
          if (y < scroll || y > scroll + height() - AXIS - rowHeight()) scroll = y;
        }
      }
      clampView();
    },
  };
}

function arrange(trace: Trace): { lanes: Lane[]; rowOf: Map<number, number> } {
  const by = new Map<number, Lane>();
  trace.tasks.forEach((task, index) => {
    const place = task.worker * 65536 + task.lane;
    let lane = by.get(place);
    if (!lane) by.set(place, (lane = { worker: task.worker, lane: task.lane, tasks: [] }));
    lane.tasks.push(index);
  });
  const lanes = [...by.entries()].sort((a, b) => a[0] - b[0]).map(([, lane]) => lane);
  const rowOf = new Map<number, number>();
  lanes.forEach((lane, row) => lane.tasks.forEach((task) => rowOf.set(task, row)));
  return { lanes, rowOf };
}

/** Plain colour, or hatched where colour alone would have to say that work was lost. */
function fill(context: CanvasRenderingContext2D, ink: Colors, fate: Fate): string | CanvasPattern {
  if (fate !== "aborted") return ink[fate];
  const tile = document.createElement("canvas");
  [tile.width, tile.height] = [6, 6];
  const pen = tile.getContext("2d");
  if (!pen) return ink.aborted;
  pen.fillStyle = ink.aborted;
  pen.fillRect(0, 0, 6, 6);
  pen.strokeStyle = ink.paper;
  pen.lineWidth = 1.2;
  pen.beginPath();
  for (const shift of [-6, 0, 6]) {
    pen.moveTo(shift, 6);
    pen.lineTo(shift + 6, 0);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat") ?? ink.aborted;
}

/** The execution that wrote what made another one void. */
export function writer(trace: Trace, tx: number, at: number): number | undefined {
  let found: number | undefined;
  trace.tasks.forEach((task, index) => {
    if (task.tx === tx && (found === undefined || task.start_ns <= at)) found = index;
  });
  return found;
}

/** The last execution of a transaction. */
export function lastOf(trace: Trace, tx: number): number | undefined {
  const found = trace.tasks.findLastIndex((task: Task) => task.tx === tx);
  return found < 0 ? undefined : found;
}

function words(trace: Trace, index: number): string {
  const task = trace.tasks[index];
  if (!task) return "";
  const lines = [`${txName(task.tx, trace.txs)}, execution ${task.incarnation}: ${time(task.end_ns - task.start_ns)}, ${task.fate}`];
  const abort = trace.aborts.find((abort) => abort.task === index);
  if (abort) lines.push(`thrown away for ${label(trace.keys[abort.key])}`);
  return lines.join("\n");
}

/** A round number of nanoseconds, at least this many. */
function nice(least: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  return [1, 2, 5, 10].map((digit) => digit * power).find((step) => step >= least) ?? 10 * power;
}
