#!/usr/bin/env bash
# Compiles contracts/src/*.sol into contracts/out/*.json, with a pinned solc from npm.
# Each artefact has the ABI, both bytecodes, the compiler's version and settings, and the SHA-256 of its
# source; out/SHA256SUMS has the sums of sources and artefacts, which a test compares.
set -euo pipefail

solc_version=0.8.30
here=$(cd "$(dirname "$0")" && pwd)
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT

(cd "$temp" && npm init -y >/dev/null && npm install --silent --no-audit --no-fund "solc@$solc_version" >/dev/null)
cat >"$temp/compile.js" <<'JS'
const [here] = process.argv.slice(2);
const { createHash } = require("crypto");
const fs = require("fs");
const path = require("path");
const solc = require("solc");

const settings = {
  optimizer: { enabled: true, runs: 1000 },
  evmVersion: "cancun",
  // Without a metadata hash in it, the bytecode depends on the code alone.
  metadata: { bytecodeHash: "none", appendCBOR: false },
};
const source_folder = path.join(here, "src");
for (const file of fs.readdirSync(source_folder).filter((name) => name.endsWith(".sol")).sort()) {
  const content = fs.readFileSync(path.join(source_folder, file), "utf8");
  const outputSelection = { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } };
  const input = {
    language: "Solidity",
    sources: { [file]: { content } },
    settings: { ...settings, outputSelection },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  for (const message of output.errors ?? []) {
    console.error(message.formattedMessage);
    if (message.severity === "error") process.exit(1);
  }
  for (const [contract, built] of Object.entries(output.contracts[file])) {
    const artefact = {
      contract,
      source: `contracts/src/${file}`,
      source_sha256: createHash("sha256").update(content).digest("hex"),
      solc: solc.version(),
      settings,
      abi: built.abi,
      bytecode: "0x" + built.evm.bytecode.object,
      deployed_bytecode: "0x" + built.evm.deployedBytecode.object,
    };
    fs.writeFileSync(path.join(here, "out", `${contract}.json`), JSON.stringify(artefact, null, 1) + "\n");
  }
}
JS
mkdir -p "$here/out"
NODE_PATH="$temp/node_modules" node "$temp/compile.js" "$here"
(cd "$here" && sha256sum src/*.sol out/*.json >out/SHA256SUMS)
