// Builds dist/report.html, one file with everything in it, and dist/NOTICE, the licences of what is bundled.
// `--check` builds the same elsewhere and compares it with what is committed.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import esbuild from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const inSource = (name) => join(here, "src", name);

/** A digest of all that the page is made from, so that a stale page is noticed without building it. */
function sources() {
  const hash = createHash("sha256");
  const files = readdirSync(inSource("")).sort().map((name) => `src/${name}`);
  for (const name of [...files, "build.mjs", "package-lock.json"]) {
    hash.update(`${name}\n`);
    hash.update(readFileSync(join(here, name)));
  }
  return hash.digest("hex");
}

const built = await esbuild.build({
  entryPoints: [inSource("main.ts")],
  bundle: true,
  minify: true,
  format: "iife",
  target: ["chrome109", "firefox115", "safari16"],
  charset: "utf8",
  legalComments: "none",
  metafile: true,
  write: false,
  outdir: join(here, "dist"),
});
const text = (suffix) => built.outputFiles.find((file) => file.path.endsWith(suffix)).text.trim();

/** The packages that are bundled, with their licences as they state them. */
function notice() {
  const names = new Set();
  for (const input of Object.keys(built.metafile.inputs)) {
    const name = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];
    if (name) names.add(name);
  }
  const parts = ["The page of `braid report` contains the following works.\n"];
  for (const name of [...names].sort()) {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = ["LICENSE", "LICENSE.md", "LICENSE.txt"].map((file) => join(folder, file)).find(existsSync);
    if (!file) throw new Error(`${name} states no licence`);
    parts.push(`${"-".repeat(80)}\n${name} ${version} (${license})\n\n${readFileSync(file, "utf8").trim()}\n`);
  }
  return parts.join("\n");
}

const script = text(".js");
if (script.includes("</script")) throw new Error("the script would end its own element");
const notices = notice();
const page = readFileSync(inSource("report.html"), "utf8")
  .replace("%SOURCES%", () => sources())
  .replace("%STYLE%", () => text(".css"))
  .replace("%SCRIPT%", () => `${script}\n/*\n${notices.replaceAll("*/", "* /")}*/`);

const outputs = { "report.html": page, NOTICE: notices };
if (process.argv.includes("--check")) {
  for (const [name, content] of Object.entries(outputs)) {
    const there = readFileSync(join(here, "dist", name), "utf8");
    if (there !== content) {
      console.error(`dist/${name} is not what its sources make: run \`npm run build\` in crates/report/web`);
      process.exitCode = 1;
    }
  }
} else {
  mkdirSync(join(here, "dist"), { recursive: true });
  for (const [name, content] of Object.entries(outputs)) writeFileSync(join(here, "dist", name), content);
  console.log(`dist/report.html: ${(page.length / 1024).toFixed(0)} KiB`);
}
