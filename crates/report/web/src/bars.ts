// How many times as fast as the reference: bars with their 95% intervals, and what the dependencies allow.

import uPlot from "uplot";
import { el } from "./dom";
import { seat, time, times } from "./format";
import { table, type Column } from "./table";
import { colors, onTheme } from "./theme";

export interface Bar {
  profile: string;
  threads: number;
  speedup: number;
  low: number | null;
  high: number | null;
  limit: number | null;
  floor: number;
  runs: number | null;
  median_ns: number | null;
}

const HEIGHT = 320;

export function bars(holder: HTMLElement, reference: string): (rows: Bar[]) => void {
  const place = el("div", { class: "plot" });
  const legend = el(
    "p",
    { class: "legend" },
    el("span", { class: "mark whisker" }),
    "95% interval ",
    el("span", { class: "mark limit" }),
    "what the dependencies allow on so many threads (critical path) ",
    el("span", { class: "mark one" }),
    `${reference} = 1`,
  );
  const columns: Column<Bar>[] = [
    { head: "profile", words: true, cell: (bar) => seat(bar.profile, bar.threads) },
    { head: `times ${reference}`, cell: (bar) => bar.speedup.toFixed(3), value: (bar) => bar.speedup },
    { head: "95% interval", cell: (bar) => (bar.low === null || bar.high === null ? "–" : `${bar.low.toFixed(3)} to ${bar.high.toFixed(3)}`) },
    { head: "noise floor", cell: (bar) => bar.floor.toFixed(3), value: (bar) => bar.floor },
    { head: "limit", cell: (bar) => (bar.limit === null ? "–" : bar.limit.toFixed(2)), value: (bar) => bar.limit ?? 0 },
    { head: "time", cell: (bar) => (bar.median_ns === null ? "–" : time(bar.median_ns)), value: (bar) => bar.median_ns ?? 0 },
    { head: "rounds", cell: (bar) => (bar.runs === null ? "–" : String(bar.runs)), value: (bar) => bar.runs ?? 0 },
  ];
  const list = table("The numbers", columns);
  holder.append(place, legend, list.element);
  let rows: Bar[] = [];
  let plot: uPlot | undefined;

  function draw(): void {
    plot?.destroy();
    place.replaceChildren();
    if (rows.length === 0) return;
    const ink = colors();
    const top = Math.max(1, ...rows.map((bar) => Math.max(bar.speedup, bar.high ?? 0, bar.limit ?? 0)));
    const crowded = place.clientWidth / rows.length < 84;
    const axis = { stroke: ink.ink, grid: { stroke: ink.grid, width: 1 }, ticks: { stroke: ink.grid, width: 1 } };
    const options: uPlot.Options = {
      width: Math.max(200, place.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false, range: [-0.6, rows.length - 0.4] }, y: { range: [0, top * 1.12] } },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: crowded ? 96 : 44,
          rotate: crowded ? -40 : 0,
          splits: rows.map((_, index) => index),
          values: (_plot, splits) =>
            splits.map((index) => {
              const bar = rows[index];
              if (!bar) return "";
              return crowded ? `${bar.profile} · ${bar.threads}` : `${bar.profile}\n${bar.threads} thread${bar.threads === 1 ? "" : "s"}`;
            }),
        },
        { ...axis, size: 56, values: (_plot, splits) => splits.map((value) => `${value}×`) },
      ],
      series: [
        {},
        {
          stroke: ink.series[0],
          fill: ink.committed,
          width: 1,
          paths: uPlot.paths.bars?.({ size: [0.56, 72] }),
          points: { show: false },
        },
      ],
      hooks: { draw: [(chart) => marks(chart, rows)] },
    };
    plot = new uPlot(options, [rows.map((_, index) => index), rows.map((bar) => bar.speedup)], place);
    const words = rows.map((bar) => `${seat(bar.profile, bar.threads)}: ${times(bar.speedup)}`);
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", `Speed-up over ${reference}. ${words.join("; ")}`);
  }

  onTheme(draw);
  new ResizeObserver(() => {
    if (plot && Math.abs(plot.width - place.clientWidth) > 1) draw();
  }).observe(place);
  return (next) => {
    rows = next;
    list.show(rows);
    draw();
  };
}

/** Whiskers, limits, the line of the reference, and the values in words. */
function marks(plot: uPlot, rows: Bar[]): void {
  const { ctx } = plot;
  const ink = colors();
  const ratio = devicePixelRatio || 1;
  const y = (value: number) => plot.valToPos(value, "y", true);
  const step = plot.valToPos(1, "x", true) - plot.valToPos(0, "x", true);
  const half = Math.min(step * 0.28, 36 * ratio);
  ctx.save();
  ctx.lineWidth = 1.5 * ratio;
  ctx.strokeStyle = ink.faint;
  ctx.beginPath();
  ctx.moveTo(plot.bbox.left, y(1));
  ctx.lineTo(plot.bbox.left + plot.bbox.width, y(1));
  ctx.stroke();
  ctx.textAlign = "center";
  ctx.font = `600 ${12 * ratio}px system-ui, sans-serif`;
  rows.forEach((bar, index) => {
    const x = plot.valToPos(index, "x", true);
    let peak = bar.speedup;
    if (bar.low !== null && bar.high !== null) {
      ctx.strokeStyle = ink.ink;
      ctx.setLineDash([]);
      ctx.beginPath();
      ctx.moveTo(x, y(bar.low));
      ctx.lineTo(x, y(bar.high));
      for (const end of [bar.low, bar.high]) {
        ctx.moveTo(x - 6 * ratio, y(end));
        ctx.lineTo(x + 6 * ratio, y(end));
      }
      ctx.stroke();
      peak = Math.max(peak, bar.high);
    }
    if (bar.limit !== null) {
      ctx.strokeStyle = ink.limit;
      ctx.lineWidth = 2.5 * ratio;
      ctx.setLineDash([5 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x - half * 1.3, y(bar.limit));
      ctx.lineTo(x + half * 1.3, y(bar.limit));
      ctx.stroke();
      ctx.lineWidth = 1.5 * ratio;
      ctx.setLineDash([]);
    }
    ctx.fillStyle = ink.ink;
    let text = y(peak) - 6 * ratio;
    // Not through the line of the limit, nor through that of the reference.
    for (const line of [1, bar.limit ?? 1].sort((a, b) => a - b)) {
      if (y(line) > text - 19 * ratio && y(line) < text + 5 * ratio) text = y(line) - 6 * ratio;
    }
    ctx.fillText(times(bar.speedup), x, text);
  });
  ctx.restore();
}
