// A made-up report of the size of a large block: an optimistic schedule with hot locations, waits and retries.

/** Numbers that are the same every time. */
function generator(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const KEYS = [
  { text: "0x1111111111111111111111111111111111111111[0x8]", name: "pool reserves of 0x1111…1111" },
  { text: "0x2222222222222222222222222222222222222222[0x9d3a…]", name: "token balance of 0x3333…3333 (mapping at slot 0)" },
  { text: "0x4444444444444444444444444444444444444444[0x2]" },
  { text: "0x5555555555555555555555555555555555555555.nonce", name: "nonce of sender 0x5555…5555" },
  { text: "0x6666666666666666666666666666666666666666[0x0]", name: "<b>not markup</b>" },
];

function block(txs, workers, seed) {
  const random = generator(seed);
  const weights = Array.from({ length: txs }, () => 8_000 + random(30_000) + (random(200) === 0 ? 400_000 : 0));
  const last = new Map();
  const edges = [];
  const access = [];
  for (let tx = 0; tx < txs; tx++) {
    const key = random(100) < 12 ? random(KEYS.length) : undefined;
    access.push({ reads: key === undefined ? [] : [key], writes: key === undefined ? [] : [key], private: random(6) });
    if (key === undefined) continue;
    if (last.has(key)) edges.push([tx, last.get(key), key]);
    last.set(key, tx);
  }
  const [tasks, waits, aborts, commits] = [[], [], [], []];
  const free = new Array(workers).fill(0);
  const ended = new Array(txs).fill(0);
  for (let tx = 0; tx < txs; tx++) {
    const worker = free.indexOf(Math.min(...free));
    let start = free[worker];
    const run = (incarnation, from, time, fate) => {
      tasks.push({ tx, incarnation, worker, lane: 0, start_ns: from, end_ns: from + time, fate });
      return from + time;
    };
    const need = edges.find((edge) => edge[0] === tx);
    let incarnation = 0;
    if (need && ended[need[1]] > start) {
      if (random(3) === 0) {
        const middle = start + Math.floor(weights[tx] / 2);
        const until = Math.max(middle, ended[need[1]]);
        waits.push({ task: tasks.length, tx, key: need[2], on: need[1], at_ns: middle, until_ns: until });
        start = run(incarnation, start, until - start + Math.floor(weights[tx] / 2), "committed");
      } else {
        const task = tasks.length;
        const end = run(incarnation++, start, weights[tx], "aborted");
        const noticed = Math.max(end, ended[need[1]]);
        aborts.push({ task, tx, key: need[2], by: need[1], worker, at_ns: noticed, cost_ns: weights[tx] });
        start = run(incarnation, noticed + 300, weights[tx], "committed");
      }
    } else {
      start = run(incarnation, start, weights[tx], "committed");
    }
    ended[tx] = start;
    free[worker] = start + 200 + random(400);
    const before = commits.at(-1)?.at_ns ?? 0;
    commits.push({ tx, worker, at_ns: Math.max(before, start) + 50 });
  }
  tasks.forEach((task, index) => (task.index = index));
  const order = [...tasks].sort((a, b) => a.start_ns - b.start_ns);
  const moved = new Map(order.map((task, index) => [task.index, index]));
  order.forEach((task) => delete task.index);
  for (const one of [...waits, ...aborts]) one.task = moved.get(one.task);
  const span = ends(txs, edges, weights);
  return { weights, edges, access, tasks: order, waits, aborts, commits, elapsed: commits.at(-1).at_ns, span };
}

/** The heaviest chain: its time and its transactions. */
function ends(txs, edges, weights) {
  const needs = new Map();
  for (const [tx, on] of edges) needs.set(tx, [...(needs.get(tx) ?? []), on]);
  const [end, from] = [[], []];
  for (let tx = 0; tx < txs; tx++) {
    const before = (needs.get(tx) ?? []).sort((a, b) => end[b] - end[a])[0];
    end.push((before === undefined ? 0 : end[before]) + weights[tx]);
    from.push(before);
  }
  let tx = end.indexOf(Math.max(...end));
  const [time, path] = [end[tx], []];
  for (; tx !== undefined; tx = from[tx]) path.unshift(tx);
  return { time, path };
}

const WORKERS = [1, 2, 4, 8, 16, 32];

export function report(txs = 10_000, workers = 4, seed = 1) {
  const made = block(txs, workers, seed);
  const work = made.weights.reduce((sum, one) => sum + one, 0);
  const input = "pool?txs=10000&seed=1";
  const virtual = (span) => WORKERS.map((workers) => ({
    workers,
    block_order_ns: Math.round(Math.max(work / workers, span) * (workers > 1 ? 1.08 : 1)),
    critical_path_ns: Math.round(Math.max(work / workers, span)),
  }));
  const costs = KEYS.map((_, key) => {
    const aborts = made.aborts.filter((one) => one.key === key);
    const waits = made.waits.filter((one) => one.key === key);
    const sum = (list, value) => list.reduce((sum, one) => sum + value(one), 0);
    const cost_ns = sum(aborts, (one) => one.cost_ns) + sum(waits, (one) => one.until_ns - one.at_ns);
    return { key, aborts: aborts.length, waits: waits.length, cost_ns };
  }).sort((a, b) => b.cost_ns - a.cost_ns);
  const wasted = made.aborts.reduce((sum, one) => sum + one.cost_ns, 0);
  const trace = {
    version: 1, input, profile: "braid", scheduler: "block_stm", threads: workers, txs, elapsed_ns: made.elapsed, lost: 0,
    keys: KEYS, tasks: made.tasks, waits: made.waits, aborts: made.aborts, commits: made.commits,
    totals: {
      executions: made.tasks.length, aborted: made.aborts.length, blocked: 0, waits: made.waits.length,
      busy_ns: made.tasks.reduce((sum, task) => sum + task.end_ns - task.start_ns, 0), wasted_ns: wasted,
      waited_ns: made.waits.reduce((sum, wait) => sum + wait.until_ns - wait.at_ns, 0),
    },
    costs, impossible: null,
    lanes: [
      { lane: "execution", what: "transactions", start_ns: 0, end_ns: made.elapsed },
      { lane: "root", what: "ahead", start_ns: Math.round(made.elapsed / 4), end_ns: made.elapsed, busy_ns: Math.round(made.elapsed / 4) },
      { lane: "root", what: "after", start_ns: made.elapsed, end_ns: Math.round(made.elapsed * 1.2) },
      { lane: "disk", what: "archive", start_ns: Math.round(made.elapsed * 1.2), end_ns: Math.round(made.elapsed * 1.3) },
      { lane: "disk", what: "sync", start_ns: Math.round(made.elapsed * 1.3), end_ns: Math.round(made.elapsed * 1.5) },
    ],
    model: {
      hint_ns: 0, one_by_one_ns: work, work_ns: work, span_ns: made.span.time, floor_ns: made.span.time, floor: "made up",
      virtual: [1, 2, 8, 16, 32].map((workers) => ({
        workers,
        time_ns: Math.round(Math.max(work / workers, made.span.time)),
        busy_ns: work,
        executions: txs + workers - 1,
      })),
    },
  };
  const hot = KEYS.map((_, key) => ({
    key, with: key === 0 ? [2] : [], edges: made.edges.filter((edge) => edge[2] === key).length, critical: key < 2,
    span_ns: Math.round(made.span.time * (key < 2 ? 0.6 : 1)), virtual: virtual(made.span.time * (key < 2 ? 0.6 : 1)),
  }));
  const analysis = {
    version: 1, input, txs, work_ns: work, span_ns: made.span.time, critical_path: made.span.path, weights: made.weights,
    virtual: virtual(made.span.time), keys: KEYS, access: made.access, edges: made.edges, edges_total: made.edges.length, hot,
  };
  const row = (profile, threads, speedup, spread) => ({
    input, txs, gas_used: 30_000_000, profile, threads, runs: 21, median_ns: Math.round(work / speedup),
    reference_median_ns: work, speedup, ci95: [speedup - spread, speedup + spread], noise_floor: 0.01,
    executions: txs, retries: 12, limit: Math.min(threads, work / made.span.time), hints: null,
  });
  const rows = [
    row("lean", 1, 1.0, 0.01), row("serial", 1, 1.31, 0.02), row("monad", 2, 1.62, 0.05), row("aptos", 2, 1.8, 0.04),
    row("braid", 2, 1.93, 0.06), row("monad", 4, 2.4, 0.1), row("aptos", 4, 2.9, 0.12), row("braid", 4, 3.42, 0.15),
    { ...row("megaeth-oracle", 4, 3.6, 0.1), hints: { source: "oracle", ns: 0, precision: 1, recall: 1 } },
    { ...row("pharos", 4, 2.9, 0.1), hints: { source: "learned", ns: 410_000, precision: 0.8, recall: 0.7 }, rooted_ns: Math.round(work / 2.5), root_adds: 0.123 },
  ];
  const means = rows.map((row) => ({
    profile: row.profile, threads: row.threads, blocks: 1, speedup: row.speedup, ci95: row.ci95, limit: row.limit,
    noise_floor: row.noise_floor, foretold: row.hints?.source === "oracle",
  }));
  return {
    version: 1,
    verdict: "braid with 4 threads is 3.42 times as fast as lean (95% interval 3.27 to 3.57), where the dependencies between transactions allow 4.00.",
    notes: ["Virtual, not measured: made up for a test."],
    run: {
      arguments: ["compare", "braid", "--on", input, "--trace"], version: "0.2.0", finished_unix: 1_760_000_000, seed: "7",
      machine: { os: "linux", arch: "x86_64", cpu: "Made-up CPU", physical_cores: 2, usable_cores: 4 },
    },
    reference: "lean", rows, results: [], means,
    blocks: [{ input, analysis, traces: [trace, { ...trace, profile: "aptos", lanes: undefined }] }],
  };
}

/** The page with this report in it, as `braid report` makes it. */
export function page(html, report) {
  return html.replace('{"braid-report":null}', () => JSON.stringify(report).replaceAll("<", "\\u003c"));
}
