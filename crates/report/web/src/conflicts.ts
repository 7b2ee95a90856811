// Who needs whom: transactions as nodes from left to right in block order, the locations that draw edges by colour.

import { forceCollide, forceLink, forceManyBody, forceSimulation, forceX, forceY, type SimulationNodeDatum } from "d3-force";
import { gestures, surface, type Surface } from "./canvas";
import { button, el } from "./dom";
import { count, label, time, times, txName } from "./format";
import { table } from "./table";
import { colors, onTheme, type Colors } from "./theme";
import type { Analysis, Trace } from "./types";

const NODES_MAX = 240;
const EDGES_MAX = 800;
const HEIGHT = 420;
const TICKS = 200;
const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3], [4, 4], [12, 4]];

interface Node extends SimulationNodeDatum {
  tx: number;
  weight: number;
  critical: boolean;
  order: number;
  /** Height at which the edges of its locations run. */
  lane: number;
}

interface Link {
  source: Node;
  target: Node;
  key: number;
}

interface HotRow {
  key: number;
  /** Others that draw the same edges. */
  with: number[];
  edges: number;
  critical: boolean;
  span: number;
  on8: number;
  on32: number;
  aborts: number;
  waits: number;
  cost: number;
}

export interface Conflicts {
  show(analysis: Analysis, trace: Trace | undefined): void;
  mark(tx: number | undefined): void;
}

export function conflicts(holder: HTMLElement, pick: (tx: number) => void): Conflicts {
  let analysis: Analysis | undefined;
  let nodes: Node[] = [];
  let links: Link[] = [];
  let shown = new Map<number, number>();
  let marked: number | undefined;
  let only: number | undefined;
  let [zoom, moveX, moveY] = [1, 0, 0];
  let pointed: { x: number; y: number; text: string } | undefined;

  const about = el("p", { class: "about" });
  const tools = el(
    "div",
    { class: "tools" },
    button("+", "zoom in", () => scale(1.4, view.width / 2, view.height / 2)),
    button("−", "zoom out", () => scale(1 / 1.4, view.width / 2, view.height / 2)),
    button("whole graph", "show the whole graph", reset),
    el("span", { class: "hint" }, "click a transaction for its story, a location below to see its edges alone"),
  );
  const box = el("div", { class: "canvas" });
  const legend = el("p", { class: "legend" });
  const list = table<HotRow>(
    "Hot locations, and what would follow if they commuted (virtual)",
    [
      { head: "location", words: true, cell: (row) => called(row) },
      { head: "dependencies", cell: (row) => count(row.edges), value: (row) => row.edges },
      { head: "critical", cell: (row) => (row.critical ? "yes" : "no"), value: (row) => Number(row.critical) },
      { head: "critical path without", cell: (row) => `${time(row.span)} (${factor(row.span)})`, value: (row) => row.span },
      { head: "on 8 workers", cell: (row) => factor(row.on8), value: (row) => -row.on8 },
      { head: "on 32 workers", cell: (row) => factor(row.on32), value: (row) => -row.on32 },
      { head: "thrown away here", cell: (row) => count(row.aborts), value: (row) => row.aborts },
      { head: "waits here", cell: (row) => count(row.waits), value: (row) => row.waits },
      { head: "cost here", cell: (row) => time(row.cost), value: (row) => row.cost },
    ],
    true,
    (row) => {
      only = only === row.key ? undefined : row.key;
      layout();
    },
  );
  holder.append(about, tools, box, legend, list.element);
  const called = (row: HotRow) => {
    const others = row.with.length;
    return label(analysis?.keys[row.key]) + (others ? ` and ${count(others)} with the same dependencies` : "");
  };
  const factor = (ns: number) => times((analysis?.work_ns ?? 0) / Math.max(ns, 1));
  const { surface: view, ask } = surface(box, "Conflict graph: transactions and what they need", () => HEIGHT, paint);

  const at = (node: Node): [number, number] => [
    ((node.x ?? 0) * (view.width - 60) + 30) * zoom + moveX,
    ((node.y ?? 0) * (HEIGHT - 60) + 30) * zoom + moveY,
  ];
  const radius = (node: Node) => 4 + 5 * Math.sqrt(node.weight);

  function scale(by: number, x: number, y: number): void {
    const next = Math.min(40, Math.max(1, zoom * by));
    [moveX, moveY] = [x - ((x - moveX) * next) / zoom, y - ((y - moveY) * next) / zoom];
    zoom = next;
    ask();
  }
  function reset(): void {
    [zoom, moveX, moveY] = [1, 0, 0];
    ask();
  }

  /** Chooses the edges of the hottest locations, and finds places for their transactions. */
  function layout(): void {
    if (!analysis) return;
    const hot = only === undefined ? analysis.hot.map((one) => one.key) : [only];
    const rank = new Map(hot.map((key, index) => [key, index]));
    const edges = inTurn(analysis.edges.filter((edge) => rank.has(edge[2])), rank);
    const critical = new Set(analysis.critical_path);
    const heaviest = Math.max(1, ...analysis.critical_path.map((tx) => analysis?.weights[tx] ?? 0));
    const made = new Map<number, Node>();
    const kept: [number, number, number][] = [];
    for (const edge of edges) {
      const missing = Number(!made.has(edge[0])) + Number(!made.has(edge[1]));
      if (kept.length >= EDGES_MAX) break;
      if (made.size + missing > NODES_MAX) continue;
      for (const tx of [edge[0], edge[1]]) {
        const weight = Math.min(1, (analysis.weights[tx] ?? 0) / heaviest);
        if (!made.has(tx)) made.set(tx, { tx, weight, critical: critical.has(tx), order: 0, lane: 0 });
      }
      kept.push(edge);
    }
    nodes = [...made.values()].sort((a, b) => a.tx - b.tx);
    nodes.forEach((node, index) => (node.order = nodes.length > 1 ? index / (nodes.length - 1) : 0.5));
    links = kept.flatMap(([tx, on, key]) => {
      const [source, target] = [made.get(on), made.get(tx)];
      return source && target ? [{ source, target, key }] : [];
    });
    const keys = [...new Set(links.map((link) => link.key))].sort((a, b) => (rank.get(a) ?? 0) - (rank.get(b) ?? 0));
    shown = new Map(keys.slice(0, DASHES.length).map((key, index) => [key, index]));
    arrange(nodes, links, keys);
    const whole = analysis.edges_total;
    const part = only === undefined ? "of the hottest locations" : `of ${label(analysis.keys[only])}`;
    about.textContent = `${count(links.length)} of ${count(whole)} dependencies, ${part}, between ${count(nodes.length)} of ${count(analysis.txs)} transactions, from left to right in block order. A dark rim marks the critical path.`;
    drawLegend();
    reset();
  }

  function drawLegend(): void {
    const ink = colors();
    legend.replaceChildren();
    for (const [key, index] of shown) {
      const mark = el("span", { class: `mark ${index === 0 ? "line" : "dash"}` });
      mark.style.color = ink.series[index] ?? ink.faint;
      legend.append(mark, `${label(analysis?.keys[key])} `);
    }
    if (links.some((link) => !shown.has(link.key))) {
      const mark = el("span", { class: "mark line" });
      mark.style.color = ink.faint;
      legend.append(mark, "others");
    }
  }

  function paint(view: Surface): void {
    const { context } = view;
    const ink = colors();
    const groups = new Map<number, Path2D>();
    for (const link of links) {
      const group = shown.get(link.key) ?? -1;
      let path = groups.get(group);
      if (!path) groups.set(group, (path = new Path2D()));
      const [[x0, y0], [x1, y1]] = [at(link.source), at(link.target)];
      path.moveTo(x0, y0);
      path.quadraticCurveTo((x0 + x1) / 2, (y0 + y1) / 2 - Math.min(12, Math.abs(x1 - x0) / 6), x1, y1);
      view.call();
    }
    context.lineWidth = 1.5;
    for (const [group, path] of groups) {
      context.strokeStyle = group < 0 ? ink.faint : (ink.series[group] ?? ink.faint);
      context.globalAlpha = 0.75;
      context.setLineDash(DASHES[Math.max(0, group)] ?? []);
      context.stroke(path);
      view.call();
    }
    context.globalAlpha = 1;
    context.setLineDash([]);
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.font = "9px system-ui, sans-serif";
    for (const node of nodes) {
      const [x, y] = at(node);
      const r = radius(node);
      if (x < -20 || y < -20 || x > view.width + 20 || y > HEIGHT + 20) continue;
      context.beginPath();
      context.arc(x, y, r, 0, 2 * Math.PI);
      context.fillStyle = node.tx === marked ? ink.mark : ink.panel;
      context.strokeStyle = node.critical ? ink.ink : ink.faint;
      context.lineWidth = node.critical ? 3 : 1;
      context.fill();
      context.stroke();
      view.call(2);
      if (r * 2 > String(node.tx).length * 6) {
        context.fillStyle = node.tx === marked ? ink.paper : ink.ink;
        context.fillText(String(node.tx), x, y);
        view.call();
      }
    }
    paintLabels(view, ink);
    hover(view);
  }

  /** Each location's name at the first of its edges. */
  function paintLabels(view: Surface, ink: Colors): void {
    const { context } = view;
    context.font = "12px system-ui, sans-serif";
    context.textAlign = "left";
    context.lineWidth = 4;
    context.strokeStyle = ink.paper;
    for (const [key, index] of shown) {
      const link = links.find((link) => link.key === key);
      if (!link) continue;
      const [x, y] = at(link.source);
      const text = label(analysis?.keys[key]);
      const left = Math.max(4, Math.min(x, view.width - context.measureText(text).width - 4));
      const top = Math.max(9, y - radius(link.source) - 10);
      context.strokeText(text, left, top);
      context.fillStyle = ink.series[index] ?? ink.ink;
      context.fillText(text, left, top);
      view.call(2);
    }
  }

  function hover(view: Surface): void {
    if (!pointed) return;
    const { context } = view;
    const ink = colors();
    context.font = "12px system-ui, sans-serif";
    const wide = context.measureText(pointed.text).width + 16;
    const left = Math.max(2, Math.min(pointed.x + 12, view.width - wide - 2));
    const top = Math.min(pointed.y + 14, HEIGHT - 28);
    context.fillStyle = ink.panel;
    context.strokeStyle = ink.faint;
    context.lineWidth = 1;
    context.fillRect(left, top, wide, 26);
    context.strokeRect(left + 0.5, top + 0.5, wide - 1, 25);
    context.fillStyle = ink.ink;
    context.textAlign = "left";
    context.fillText(pointed.text, left + 8, top + 13);
    view.call(3);
  }

  function find(x: number, y: number): Node | undefined {
    return nodes.findLast((node) => {
      const [left, top] = at(node);
      return Math.hypot(left - x, top - y) <= radius(node) + 3;
    });
  }

  gestures(view.canvas, {
    move(dx, dy) {
      [moveX, moveY] = [moveX + dx, moveY + dy];
      ask();
    },
    zoom: scale,
    reset,
    click(x, y) {
      const node = find(x, y);
      if (node) pick(node.tx);
    },
    hover(x, y) {
      const node = find(x, y);
      const before = pointed;
      view.canvas.style.cursor = node ? "pointer" : "grab";
      pointed = undefined;
      if (node && analysis) {
        const keys = [...new Set(links.filter((link) => link.target === node).map((link) => label(analysis?.keys[link.key])))];
        const needs = keys.length ? `; needs ${keys.slice(0, 3).join(", ")}` : "";
        pointed = { x, y, text: `${txName(node.tx, analysis.txs)}: ${time(analysis.weights[node.tx] ?? 0)}${needs}` };
      }
      if (pointed || before) ask();
    },
    leave() {
      if (pointed) ask();
      pointed = undefined;
    },
  });
  onTheme(() => {
    drawLegend();
    ask();
  });

  return {
    show(next, trace) {
      [analysis, only, marked, pointed] = [next, undefined, undefined, undefined];
      list.show(hotRows(next, trace));
      layout();
    },
    mark(tx) {
      marked = tx;
      ask();
    },
  };
}

/** Edges of each location in turn, hottest location first, so that one alone does not take all the room. */
function inTurn(edges: Analysis["edges"], rank: Map<number, number>): Analysis["edges"] {
  const turns = new Map<number, number>();
  const placed = edges.map((edge) => {
    const turn = turns.get(edge[2]) ?? 0;
    turns.set(edge[2], turn + 1);
    return { edge, turn, rank: rank.get(edge[2]) ?? 0 };
  });
  return placed.sort((a, b) => a.turn - b.turn || a.rank - b.rank).map((one) => one.edge);
}

/** Places in the unit square: across by block order, up and down by the locations that a node's edges are of. */
function arrange(nodes: Node[], links: Link[], keys: number[]): void {
  const [wide, high] = [1000, 360];
  const lanes = new Map(keys.map((key, index) => [key, keys.length > 1 ? index / (keys.length - 1) : 0.5]));
  const sums = new Map<Node, [number, number]>();
  for (const link of links) {
    for (const node of [link.source, link.target]) {
      const [sum, edges] = sums.get(node) ?? [0, 0];
      sums.set(node, [sum + (lanes.get(link.key) ?? 0.5), edges + 1]);
    }
  }
  nodes.forEach((node, index) => {
    const [sum, edges] = sums.get(node) ?? [0.5, 1];
    node.lane = (sum / edges) * high;
    node.x = node.order * wide;
    node.y = node.lane + ((index * 37) % 11) - 5;
  });
  forceSimulation(nodes)
    .force("across", forceX<Node>((node) => node.order * wide).strength(0.6))
    .force("lane", forceY<Node>((node) => node.lane).strength(0.35))
    .force("apart", forceManyBody<Node>().strength(-12).distanceMax(80))
    .force("collide", forceCollide<Node>((node) => 5 + 5 * Math.sqrt(node.weight)))
    .force("links", forceLink<Node, Link>(links).distance(30).strength(0.04))
    .stop()
    .tick(TICKS);
  const fit = (value: (node: Node) => number, set: (node: Node, to: number) => void) => {
    const all = nodes.map(value);
    const [low, top] = [Math.min(...all), Math.max(...all)];
    nodes.forEach((node) => set(node, top > low ? (value(node) - low) / (top - low) : 0.5));
  };
  fit((node) => node.x ?? 0, (node, to) => (node.x = to));
  fit((node) => node.y ?? 0, (node, to) => (node.y = to));
}

/** The hot locations of the block, with what the schedule paid for each: matched by text, an account's record
 * taken together. */
function hotRows(analysis: Analysis, trace: Trace | undefined): HotRow[] {
  const paid = new Map<string, { aborts: number; waits: number; cost_ns: number }>();
  for (const cost of trace?.costs ?? []) {
    const key = trace?.keys[cost.key];
    if (key) paid.set(key.text, cost);
  }
  return analysis.hot.map((hot) => {
    const costs = [hot.key, ...hot.with].flatMap((key) => {
      const text = analysis.keys[key]?.text ?? "";
      const cost = paid.get(text) ?? paid.get(text.split(".")[0] ?? "");
      return cost ? [cost] : [];
    });
    const sum = (of: (cost: { aborts: number; waits: number; cost_ns: number }) => number) =>
      costs.reduce((sum, cost) => sum + of(cost), 0);
    const on = (workers: number) => hot.virtual.find((one) => one.workers === workers)?.critical_path_ns ?? hot.span_ns;
    return {
      key: hot.key,
      with: hot.with,
      edges: hot.edges,
      critical: hot.critical,
      span: hot.span_ns,
      on8: on(8),
      on32: on(32),
      aborts: sum((cost) => cost.aborts),
      waits: sum((cost) => cost.waits),
      cost: sum((cost) => cost.cost_ns),
    };
  });
}
