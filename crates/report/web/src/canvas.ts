// A canvas that fits its place and counts what is drawn, and a window on it that is zoomed and moved.

import { el } from "./dom";

/** What the page has drawn, for tests: a frame's calls must not grow with the block. */
export const drawn = { frames: 0, calls: 0 };

export interface Surface {
  canvas: HTMLCanvasElement;
  context: CanvasRenderingContext2D;
  width: number;
  height: number;
  /** Counts a call that paints. */
  call(count?: number): void;
}

/** A canvas in `holder`, painted in the next frame after each `ask`. */
export function surface(
  holder: HTMLElement,
  name: string,
  height: () => number,
  paint: (surface: Surface) => void,
): { surface: Surface; ask: () => void } {
  const canvas = el("canvas", { tabindex: "0", role: "img", "aria-label": name });
  holder.append(canvas);
  const context = canvas.getContext("2d");
  if (!context) throw new Error("no canvas");
  let calls = 0;
  const made: Surface = { canvas, context, width: 0, height: 0, call: (count = 1) => void (calls += count) };
  let asked = false;
  const frame = () => {
    asked = false;
    const ratio = window.devicePixelRatio || 1;
    made.width = Math.max(200, holder.clientWidth);
    made.height = height();
    const [width, tall] = [Math.round(made.width * ratio), Math.round(made.height * ratio)];
    if (canvas.width !== width || canvas.height !== tall) {
      [canvas.width, canvas.height] = [width, tall];
      canvas.style.height = `${made.height}px`;
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, made.width, made.height);
    calls = 0;
    paint(made);
    drawn.frames += 1;
    drawn.calls = Math.max(drawn.calls, calls);
    canvas.dataset["calls"] = String(calls);
    canvas.dataset["frame"] = String(Number(canvas.dataset["frame"] ?? "0") + 1);
  };
  const ask = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(frame);
  };
  new ResizeObserver(ask).observe(holder);
  return { surface: made, ask };
}

/** A place of the pointer on a canvas, in CSS pixels. */
export function at(event: MouseEvent, canvas: HTMLCanvasElement): [number, number] {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

/** Moves and zooms with pointer, wheel (when the canvas has the focus, or with Ctrl) and keys; tells of clicks. */
export function gestures(
  canvas: HTMLCanvasElement,
  on: {
    move(dx: number, dy: number): void;
    zoom(factor: number, x: number, y: number): void;
    reset(): void;
    click(x: number, y: number): void;
    hover(x: number, y: number): void;
    leave(): void;
  },
): void {
  let from: [number, number] | undefined;
  let moved = false;
  canvas.addEventListener("pointerdown", (event) => {
    from = at(event, canvas);
    moved = false;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event, canvas);
    if (!from) return on.hover(x, y);
    const [dx, dy] = [x - from[0], y - from[1]];
    if (!moved && Math.hypot(dx, dy) < 4) return;
    moved = true;
    from = [x, y];
    on.leave();
    on.move(dx, dy);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (from && !moved) on.click(...at(event, canvas));
    from = undefined;
  });
  canvas.addEventListener("pointercancel", () => (from = undefined));
  canvas.addEventListener("pointerleave", () => on.leave());
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (document.activeElement !== canvas && !event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) return on.move(-event.deltaX, 0);
      on.zoom(Math.exp(-event.deltaY * 0.0025), ...at(event, canvas));
    },
    { passive: false },
  );
  canvas.addEventListener("dblclick", (event) => on.zoom(3, ...at(event, canvas)));
  canvas.addEventListener("keydown", (event) => {
    const middle: [number, number] = [canvas.clientWidth / 2, canvas.clientHeight / 2];
    const steps: Record<string, () => void> = {
      ArrowLeft: () => on.move(80, 0),
      ArrowRight: () => on.move(-80, 0),
      ArrowUp: () => on.move(0, 40),
      ArrowDown: () => on.move(0, -40),
      "+": () => on.zoom(1.6, ...middle),
      "=": () => on.zoom(1.6, ...middle),
      "-": () => on.zoom(1 / 1.6, ...middle),
      "0": () => on.reset(),
      Home: () => on.reset(),
    };
    const step = event.ctrlKey || event.metaKey ? undefined : steps[event.key];
    if (step) {
      event.preventDefault();
      step();
    }
  });
}
