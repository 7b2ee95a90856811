//! JSON-RPC 2.0 over HTTP: batches, what is worth trying again, how often, how fast.

use crate::{
    FetchError,
    http::{Endpoint, Fault, Http, Reply, pause},
    rate::Rate,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, Value};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

/// Most calls in one batch.
const BATCH: usize = 100;

/// First pause before trying again; it doubles each time.
const BACKOFF: Duration = Duration::from_millis(250);

/// Longest such pause.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Characters of a node's message that are kept.
const MESSAGE_CHARS: usize = 200;

/// One thing to ask.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) params: Value,
}

/// How to ask.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    /// Requests a second, at most.
    pub(crate) rate: Option<f64>,
    /// How often to try again.
    pub(crate) retries: u32,
    /// Longest time for one answer.
    pub(crate) timeout: Duration,
    /// Most bytes of one answer.
    pub(crate) max_bytes: u64,
}

/// What was sent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Calls, those of batches one by one.
    pub(crate) calls: u64,
    /// Times that something was sent again.
    pub(crate) retries: u64,
}

/// A client of one node.
pub(crate) struct Client<'a> {
    http: Http,
    rate: Rate,
    manners: Manners,
    cancel: &'a AtomicBool,
    /// Whether the node takes batches; unlearned at the first refusal.
    batches: bool,
    counts: Counts,
}

#[derive(Serialize)]
struct Request<'a> {
    jsonrpc: &'static str,
    id: usize,
    method: &'static str,
    params: &'a Value,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    id: Value,
    result: Option<Box<RawValue>>,
    error: Option<NodeError>,
}

#[derive(Deserialize)]
struct NodeError {
    code: i64,
    #[serde(default)]
    message: String,
}

/// What came of one attempt.
enum Attempt {
    /// Answers by index; `None` for those to ask again.
    Done(Vec<Option<Result<Box<RawValue>, FetchError>>>),
    /// Nothing of use; ask again after at least this long.
    Again(String, Option<Duration>),
    /// The node does not take batches.
    NoBatches,
    Failed(FetchError),
}

impl<'a> Client<'a> {
    pub(crate) fn new(endpoint: Endpoint, manners: Manners, cancel: &'a AtomicBool) -> Self {
        let (http, rate) = (Http::new(endpoint, manners.timeout), Rate::new(manners.rate));
        Client { http, rate, manners, cancel, batches: true, counts: Counts::default() }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn cancel(&self) -> &'a AtomicBool {
        self.cancel
    }

    /// Asks one thing.
    pub(crate) fn call<T: DeserializeOwned>(
        &mut self,
        method: &'static str,
        params: Value,
    ) -> Result<T, FetchError> {
        let mut answers = self.ask(&[Call { method, params }])?;
        match answers.pop() {
            Some(answer) => decode(method, &answer?),
            None => Err(FetchError::Answer { method, at: ".".into(), reason: "no answer".into() }),
        }
    }

    /// Asks all `calls`, in as few requests as may be; the answers are in the order of the calls. An
    /// error of the node for one of them is that call's answer.
    pub(crate) fn ask(
        &mut self,
        calls: &[Call],
    ) -> Result<Vec<Result<Box<RawValue>, FetchError>>, FetchError> {
        let mut answers: Vec<Option<_>> = calls.iter().map(|_| None).collect();
        let mut tries = 0;
        loop {
            let size = if self.batches { BATCH } else { 1 };
            let open: Vec<usize> = (0..calls.len()).filter(|at| answers[*at].is_none()).take(size).collect();
            let Some(first) = open.first() else { break };
            let method = calls[*first].method;
            let mut progress = false;
            let (reason, wait) = match self.attempt(calls, &open)? {
                Attempt::Done(found) => {
                    for (at, answer) in open.iter().zip(found) {
                        progress |= answer.is_some();
                        answers[*at] = answer;
                    }
                    if open.iter().all(|at| answers[*at].is_some()) {
                        tries = 0;
                        continue;
                    }
                    ("the node is over its limits".to_owned(), None)
                }
                Attempt::NoBatches => {
                    self.batches = false;
                    continue;
                }
                Attempt::Again(reason, wait) => (reason, wait),
                Attempt::Failed(error) => return Err(error),
            };
            tries = if progress { 1 } else { tries + 1 };
            if tries > self.manners.retries {
                return Err(FetchError::Transport { method, reason, tries });
            }
            self.counts.retries += 1;
            pause(backoff(tries).max(wait.unwrap_or_default()), self.cancel)?;
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Sends the calls at `open` once.
    fn attempt(&mut self, calls: &[Call], open: &[usize]) -> Result<Attempt, FetchError> {
        let cost = u32::try_from(open.len()).unwrap_or(u32::MAX);
        let wait = self.rate.take(cost, Instant::now());
        pause(wait, self.cancel)?;
        self.counts.calls += open.len() as u64;
        let request = |at: &usize| {
            let Call { method, params } = &calls[*at];
            Request { jsonrpc: "2.0", id: *at, method, params }
        };
        let requests: Vec<Request<'_>> = open.iter().map(request).collect();
        let method = calls[open[0]].method;
        let encoded = match requests.as_slice() {
            [one] => serde_json::to_vec(one),
            many => serde_json::to_vec(many),
        };
        let body = encoded.map_err(|error| malformed(method, &error.to_string()))?;
        let limit = self.manners.max_bytes;
        match self.http.post(body, limit, self.cancel) {
            Ok(reply) => Ok(read(calls, open, &reply)),
            Err(Fault::Broken(reason)) => Ok(Attempt::Again(reason, None)),
            // Half of a batch may fit; of one call, there is no half.
            Err(Fault::TooLarge) if open.len() > 1 => Ok(Attempt::NoBatches),
            Err(Fault::TooLarge) => Err(FetchError::TooLarge { method, limit }),
            Err(Fault::Cancelled) => Err(FetchError::Cancelled),
        }
    }
}

/// Makes sense of a reply to the calls at `open`.
fn read(calls: &[Call], open: &[usize], reply: &Reply) -> Attempt {
    let method = calls[open[0]].method;
    let many: Result<Vec<Response>, _> = match open.len() {
        1 => serde_json::from_slice(&reply.body).map(|one| vec![one]),
        _ => serde_json::from_slice(&reply.body),
    };
    let status = reply.status;
    let many = match many {
        Ok(many) => many,
        Err(_) if status == 429 || status == 408 || status >= 500 => {
            return Attempt::Again(format!("HTTP status {status}"), reply.retry_after);
        }
        // An object in place of a list: what a node without batches says.
        Err(_) if open.len() > 1 && (status != 200 || reply.body.starts_with(b"{")) => {
            let over = serde_json::from_slice::<Response>(&reply.body).ok().and_then(|one| one.error);
            return match over.filter(is_passing) {
                Some(error) => Attempt::Again(shorten(&error.message), reply.retry_after),
                None => Attempt::NoBatches,
            };
        }
        Err(_) if status != 200 => return Attempt::Failed(FetchError::Refused { method, status }),
        Err(error) => return Attempt::Again(format!("the answer is not JSON-RPC: {error}"), None),
    };
    let mut answers: Vec<Option<Result<Box<RawValue>, FetchError>>> = open.iter().map(|_| None).collect();
    for one in many {
        // A single call has one answer, whatever its id (errors often have none).
        let place = match (open.len(), one.id.as_u64()) {
            (1, _) => Some(0),
            (_, id) => id.and_then(|id| open.iter().position(|at| *at as u64 == id)),
        };
        let Some(place) = place else { continue };
        let method = calls[open[place]].method;
        answers[place] = match (one.error, one.result) {
            (Some(error), _) if is_passing(&error) => None,
            (Some(error), _) => Some(Err(refusal(method, &error))),
            (None, Some(result)) => Some(Ok(result)),
            (None, None) => match RawValue::from_string("null".into()) {
                Ok(null) => Some(Ok(null)),
                Err(error) => Some(Err(malformed(method, &error.to_string()))),
            },
        };
    }
    if status != 200 && answers.iter().all(|answer| matches!(answer, Some(Ok(_)))) {
        return Attempt::Failed(FetchError::Refused { method, status });
    }
    match answers.iter().all(Option::is_none) {
        true => Attempt::Again("no answer, or the node is over its limits".into(), reply.retry_after),
        false => Attempt::Done(answers),
    }
}

/// Whether an error goes away by waiting: -32005 (EIP-1474: limit exceeded), and what providers make of
/// HTTP's 429.
fn is_passing(error: &NodeError) -> bool {
    matches!(error.code, -32005 | 429)
}

fn refusal(method: &'static str, error: &NodeError) -> FetchError {
    let message = shorten(&error.message);
    // JSON-RPC 2.0: method not found; EIP-1474: method not supported. Some nodes and providers have
    // codes of their own for it.
    let lower = message.to_lowercase();
    let unknown =
        ["method not found", "does not exist/is not available", "not supported", "unsupported method"];
    if matches!(error.code, -32601 | -32004) || unknown.iter().any(|text| lower.contains(text)) {
        return FetchError::NoMethod { method, message };
    }
    FetchError::Rpc { method, code: error.code, message }
}

/// A node's text, fit to be shown.
pub(crate) fn shorten(text: &str) -> String {
    let shown = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    shown.take(MESSAGE_CHARS).collect()
}

fn malformed(method: &'static str, reason: &str) -> FetchError {
    FetchError::Answer { method, at: ".".into(), reason: shorten(reason) }
}

/// The answer to `method` in its form.
pub(crate) fn decode<T: DeserializeOwned>(method: &'static str, raw: &RawValue) -> Result<T, FetchError> {
    let mut json = serde_json::Deserializer::from_str(raw.get());
    serde_path_to_error::deserialize(&mut json).map_err(|error| FetchError::Answer {
        method,
        at: shorten(&error.path().to_string()),
        reason: shorten(&error.inner().to_string()),
    })
}

/// Pause before the try after `tries`: doubling, with up to a quarter on top, so that many clients do
/// not come back at once.
fn backoff(tries: u32) -> Duration {
    let doubled = BACKOFF.saturating_mul(1u32.checked_shl(tries - 1).unwrap_or(u32::MAX)).min(BACKOFF_MAX);
    let jitter = RandomState::new().build_hasher().finish() % 256;
    doubled + doubled.mul_f64(jitter as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(number: usize) -> Vec<Call> {
        (0..number).map(|_| Call { method: "eth_chainId", params: Value::Null }).collect()
    }

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, retry_after: None, body: body.into() }
    }

    #[test]
    fn answers_find_their_calls_in_any_order() {
        let body = r#"[{"id":1,"result":"b"},{"id":7,"result":"x"},{"id":0,"result":"a"}]"#;
        let Attempt::Done(answers) = read(&calls(2), &[0, 1], &reply(200, body)) else { panic!("not done") };
        let text = |at: usize| match &answers[at] {
            Some(Ok(raw)) => raw.get().to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!((text(0), text(1)), (r#""a""#.to_owned(), r#""b""#.to_owned()));
    }

    #[test]
    fn what_passes_is_tried_again_and_what_does_not_is_not() {
        let again = [
            reply(429, ""),
            reply(503, "<html>"),
            reply(200, r#"{"id":0,"result":"0x"#),
            reply(200, r#"{"id":0,"error":{"code":-32005,"message":"limit exceeded"}}"#),
            reply(429, r#"{"id":0,"error":{"code":429,"message":"slow down"}}"#),
        ];
        for reply in again {
            assert!(matches!(read(&calls(1), &[0], &reply), Attempt::Again(..)), "{reply:?}");
        }
        for status in [301, 400, 401, 403, 404] {
            assert!(matches!(
                read(&calls(1), &[0], &reply(status, "no")),
                Attempt::Failed(FetchError::Refused { status: told, .. }) if told == status
            ));
        }
        for body in [r#"{"error":{"code":-32600,"message":"no batches"}}"#, "no"] {
            assert!(matches!(read(&calls(2), &[0, 1], &reply(400, body)), Attempt::NoBatches));
        }
    }

    #[test]
    fn a_method_that_is_not_there_is_told_from_one_that_fails() {
        let kind = |code, message: &str| refusal("m", &NodeError { code, message: message.into() }).kind();
        assert_eq!(kind(-32601, ""), "no_method");
        assert_eq!(kind(-32000, "the method debug_x does not exist/is not available"), "no_method");
        assert_eq!(kind(-32000, "missing trie node"), "rpc");
        let long = refusal("m", &NodeError { code: 1, message: "a\u{1b}[31m\n".repeat(1000) }).to_string();
        assert!(long.len() < 400 && !long.contains('\u{1b}'), "{long}");
    }

    #[test]
    fn pauses_grow_and_end_growing() {
        for tries in 1..100 {
            let pause = backoff(tries);
            assert!(pause >= BACKOFF.min(BACKOFF_MAX) && pause <= BACKOFF_MAX.mul_f64(1.25), "{tries}");
        }
        assert!(backoff(5) > backoff(1));
    }
}
