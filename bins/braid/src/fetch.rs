//! `braid fetch`: write cases from a node.

use crate::{
    Exit, Session,
    args::duration,
    json::{Problem, SCHEMA},
    progress::Ui,
};
use braid_fetch::{BlockReport, Endpoint, FetchError, Method, Observer, Options, Outcome, Range, Summary};
use clap::Args;
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write, path::PathBuf, time::Duration};

/// Where the URL is taken from if it is not given.
const URL_VARIABLE: &str = "BRAID_RPC_URL";

#[derive(Args, Debug)]
pub(crate) struct FetchArgs {
    /// Blocks: `N`, `N..M`, `N..=M`, several with commas; `latest`, `latest-K`, or `-K` for K before the
    /// newest.
    #[arg(allow_hyphen_values = true)]
    range: String,
    /// URL of the node's JSON-RPC endpoint [default: $BRAID_RPC_URL].
    #[arg(long, value_name = "URL")]
    rpc_url: Option<String>,
    /// Folder for the cases, one folder a block.
    #[arg(long, short, value_name = "DIR", default_value = "blocks")]
    out: PathBuf,
    /// How to get the state before a block: `witness` (debug_executionWitness; proves the state root),
    /// `prestate` (debug_traceBlockByNumber), or `auto`, the first that works.
    #[arg(long, value_name = "HOW", default_value_t = Method::Auto)]
    method: Method,
    /// Most calls a second, such as 25 or 25/s; those of a batch count one by one. [default: no limit]
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<f64>,
    /// How often a call that failed for a passing reason is made again, at most 100.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=100))]
    retries: u32,
    /// Longest time for one answer, such as 30s or 5m.
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = duration)]
    timeout: Duration,
    /// An HTTP header to send along, as `Name: value`. May be given several times.
    #[arg(long, value_name = "HEADER")]
    header: Vec<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let rate = number.parse::<f64>().ok().filter(|rate| (0.001..=1e6).contains(rate));
    rate.ok_or_else(|| "must be a number of calls a second, 0.001 to 1000000, such as 25/s".into())
}

/// What `fetch --json` prints.
#[derive(Debug, Serialize)]
struct Document {
    schema: u32,
    command: &'static str,
    chain_id: Option<u64>,
    fetched: usize,
    skipped: usize,
    failed: usize,
    /// Calls made, those of batches one by one.
    calls: u64,
    /// Times that something was asked again.
    retries: u64,
    blocks: Vec<Entry>,
    /// Why the work ended before the range did.
    error: Option<Problem>,
}

/// One block. What is not known, because the block did not get so far, is null.
#[derive(Debug, Serialize)]
struct Entry {
    block: u64,
    status: &'static str,
    path: Option<String>,
    hash: Option<String>,
    method: Option<String>,
    scope: Option<String>,
    txs: Option<usize>,
    gas_used: Option<u64>,
    /// By name; null where the case does not allow the check.
    checks: BTreeMap<String, Option<bool>>,
    /// Why there is no witness, if the method was left to choose.
    without_witness: Option<String>,
    error: Option<Problem>,
}

/// Carries the command out.
pub(crate) fn fetch(args: &FetchArgs, session: &Session<'_>, ui: &mut Ui<'_>) -> Exit {
    let (range, options) = match options(args) {
        Ok(wanted) => wanted,
        Err(error) => {
            ui.error(error);
            return Exit::Usage;
        }
    };
    let summary = braid_fetch::fetch(&range, &options, session.cancel, &mut Shown(ui));
    ui.finish();
    let exit = report(&summary, ui);
    let document = document(&summary);
    if args.json {
        ui.result(&crate::to_json(&document));
    } else {
        ui.result(&text(&document));
    }
    if exit == Exit::Ok {
        let folder = crate::diverge::quote(&options.out.display().to_string());
        ui.hint(format_args!("braid run {folder} --profile aptos"));
    }
    exit
}

fn options(args: &FetchArgs) -> Result<(Range, Options), FetchError> {
    let range: Range = args.range.parse()?;
    let url = args.rpc_url.clone().or_else(|| std::env::var(URL_VARIABLE).ok());
    let url = url.filter(|url| !url.is_empty()).ok_or_else(|| FetchError::Endpoint {
        what: "--rpc-url",
        reason: format!("give it, or set {URL_VARIABLE}"),
    })?;
    let mut options = Options::new(Endpoint::new(&url, &args.header)?, args.out.clone());
    (options.method, options.rate) = (args.method, args.rate);
    (options.retries, options.timeout) = (args.retries, args.timeout);
    Ok((range, options))
}

/// Shows progress.
struct Shown<'a, 'u>(&'a mut Ui<'u>);

impl Observer for Shown<'_, '_> {
    fn start(&mut self, blocks: usize) {
        self.0.start(blocks);
    }

    fn block(&mut self, number: u64) {
        self.0.item(&number.to_string());
    }

    fn stage(&mut self, stage: &'static str) {
        self.0.detail(|| stage.to_owned());
    }

    fn done(&mut self, report: &BlockReport) {
        if let Outcome::Failed(error) = &report.outcome {
            self.0.error(named(report.number, error));
        }
    }
}

/// The error in a sentence that names the block once.
fn named(number: u64, error: &FetchError) -> String {
    let text = error.to_string();
    if text.contains(&number.to_string()) { text } else { format!("block {number}: {text}") }
}

fn report(summary: &Summary, ui: &mut Ui<'_>) -> Exit {
    let failed = summary.blocks.iter().any(|block| matches!(block.outcome, Outcome::Failed(_)));
    let exit = if failed { Exit::Failure } else { Exit::Ok };
    let Some(error) = &summary.stopped else { return exit };
    ui.error(error);
    match error {
        FetchError::Cancelled => Exit::Interrupted,
        error if error.is_usage() => Exit::Usage,
        _ => Exit::Failure,
    }
}

fn document(summary: &Summary) -> Document {
    let count = |status: &str| summary.blocks.iter().filter(|block| word(&block.outcome) == status).count();
    Document {
        schema: SCHEMA,
        command: "fetch",
        chain_id: summary.chain_id,
        fetched: count("fetched"),
        skipped: count("skipped"),
        failed: count("failed"),
        calls: summary.calls,
        retries: summary.retries,
        blocks: summary.blocks.iter().map(entry).collect(),
        error: summary.stopped.as_ref().map(problem),
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Fetched => "fetched",
        Outcome::Skipped => "skipped",
        Outcome::Failed(_) => "failed",
    }
}

fn entry(block: &BlockReport) -> Entry {
    Entry {
        block: block.number,
        status: word(&block.outcome),
        path: block.path.as_ref().map(|path| path.display().to_string()),
        hash: block.hash.map(|hash| hash.to_string()),
        method: block.method.clone(),
        scope: block.scope.clone(),
        txs: block.txs,
        gas_used: block.gas_used,
        checks: block.checks.iter().cloned().collect(),
        without_witness: block.without_witness.clone(),
        error: match &block.outcome {
            Outcome::Failed(error) => Some(problem(error)),
            _ => None,
        },
    }
}

fn problem(error: &FetchError) -> Problem {
    let item = error.check().map(str::to_owned);
    Problem { kind: error.kind().to_owned(), file: None, item, message: error.to_string() }
}

fn text(document: &Document) -> String {
    let mut text = String::new();
    for block in &document.blocks {
        let word = |word: &Option<String>| word.clone().unwrap_or_default();
        let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
        let (method, scope) = (word(&block.method), word(&block.scope));
        let (txs, gas) = (number(block.txs.map(|txs| txs as u64)), number(block.gas_used));
        let unproven = block.checks.get("state_root").is_some_and(Option::is_none);
        let root = match (block.status, unproven) {
            ("failed", _) => "",
            (_, true) => "state root not checked",
            (_, false) => "state root checked",
        };
        let line = format!(
            "{:>10} {:<8} {method:<9} {scope:<17} {txs:>6} txs {gas:>10} gas  {root}",
            block.block, block.status
        );
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let Document { fetched, skipped, failed, calls, retries, .. } = document;
    let _ = writeln!(
        text,
        "{fetched} fetched, {skipped} there already, {failed} failed ({calls} calls, {retries} retries)"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        assert_eq!(rate("25/s"), Ok(25.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        for bad in ["", "/s", "0", "-1", "nan", "inf", "1e9", "25/m"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
