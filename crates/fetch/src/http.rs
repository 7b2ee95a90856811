//! One POST at a time: limits, timeouts, and a stop that does not wait for the server.

use crate::FetchError;
use std::{
    io::Read,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    time::{Duration, Instant},
};
use ureq::{
    Agent,
    http::{HeaderName, HeaderValue, Uri},
};

/// How often a wait looks at the flag that ends it.
const POLL: Duration = Duration::from_millis(20);

/// Time for a connection to be made.
const CONNECT: Duration = Duration::from_secs(15);

/// Most bytes of an answer with an HTTP error status.
const ERROR_BYTES: u64 = 64 << 10;

/// Longest pause that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Where to ask, and what to send along.
#[derive(Clone, Debug)]
pub struct Endpoint {
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Endpoint {
    /// The endpoint at `url` (`http` or `https`), asked with `headers`, each as `Name: value`.
    ///
    /// # Errors
    /// [`FetchError::Endpoint`], which does not repeat the texts: they often contain keys.
    pub fn new(url: &str, headers: &[String]) -> Result<Self, FetchError> {
        let bad = |reason: &str| FetchError::Endpoint { what: "--rpc-url", reason: reason.into() };
        let uri: Uri = url.trim().parse().map_err(|_| bad("not a URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(bad("must begin with http:// or https://"));
        }
        let authority = uri.authority().ok_or_else(|| bad("no host"))?;
        if authority.host().is_empty() {
            return Err(bad("no host"));
        }
        if authority.as_str().contains('@') {
            return Err(bad("name and password belong into --header, as `Authorization: Basic ...`"));
        }
        let headers = headers.iter().map(|text| header(text)).collect::<Result<_, _>>()?;
        Ok(Endpoint { uri, headers })
    }

    /// Host of the endpoint, for messages.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), FetchError> {
    let bad = || FetchError::Endpoint { what: "--header", reason: "must be `Name: value`".into() };
    let (name, value) = text.split_once(':').ok_or_else(bad)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| bad())?;
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_| bad())?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// How long the server asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It may come if asked again.
    Broken(String),
    /// It is larger than it may be.
    TooLarge,
    /// Told to stop.
    Cancelled,
}

/// A client of one endpoint.
#[derive(Debug)]
pub(crate) struct Http {
    agent: Agent,
    endpoint: Endpoint,
}

impl Http {
    /// A client that gives up on an answer after `timeout`.
    pub(crate) fn new(endpoint: Endpoint, timeout: Duration) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(timeout))
            .timeout_connect(Some(CONNECT.min(timeout)))
            .user_agent(concat!("braid/", env!("CARGO_PKG_VERSION")));
        if is_local(endpoint.host()) {
            config = config.proxy(None);
        }
        Http { agent: config.build().into(), endpoint }
    }

    /// Posts `body`; at most `limit` bytes may come back. The request is made by another thread, which
    /// is left to itself (and to its timeout) when `cancel` is set.
    pub(crate) fn post(&self, body: Vec<u8>, limit: u64, cancel: &AtomicBool) -> Result<Reply, Fault> {
        let (agent, endpoint) = (self.agent.clone(), self.endpoint.clone());
        let (sender, receiver) = channel();
        std::thread::spawn(move || drop(sender.send(exchange(&agent, &endpoint, &body, limit))));
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Err(Fault::Cancelled);
            }
            match receiver.recv_timeout(POLL) {
                Ok(done) => return done,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Fault::Broken("the request was abandoned".into()));
                }
            }
        }
    }
}

/// Whether the host is this machine, which no proxy stands before.
fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn exchange(agent: &Agent, endpoint: &Endpoint, body: &[u8], limit: u64) -> Result<Reply, Fault> {
    let mut request = agent.post(endpoint.uri.clone()).header("content-type", "application/json");
    for (name, value) in &endpoint.headers {
        request = request.header(name.clone(), value.clone());
    }
    let mut response = request.send(body).map_err(|error| broken(&error))?;
    let status = response.status().as_u16();
    let seconds = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    let limit = if status == 200 { limit } else { ERROR_BYTES };
    let mut body = Vec::new();
    let read = response.body_mut().as_reader().take(limit + 1).read_to_end(&mut body);
    read.map_err(|error| Fault::Broken(format!("the answer broke off: {error}")))?;
    if body.len() as u64 > limit {
        if status == 200 {
            return Err(Fault::TooLarge);
        }
        body.clear();
    }
    Ok(Reply { status, retry_after, body })
}

/// The error in words that do not repeat the URL.
fn broken(error: &ureq::Error) -> Fault {
    Fault::Broken(match error {
        ureq::Error::Timeout(what) => format!("timed out ({what})"),
        ureq::Error::Io(error) => format!("connection failed: {}", error.kind()),
        ureq::Error::HostNotFound => "host not found".into(),
        ureq::Error::ConnectionFailed => "connection failed".into(),
        ureq::Error::Tls(what) => format!("TLS: {what}"),
        ureq::Error::Rustls(error) => format!("TLS: {error}"),
        ureq::Error::Protocol(error) => format!("HTTP: {error}"),
        _ => "the request failed".into(),
    })
}

/// Waits for `time`.
///
/// # Errors
/// [`FetchError::Cancelled`], if told to stop meanwhile.
pub(crate) fn pause(time: Duration, cancel: &AtomicBool) -> Result<(), FetchError> {
    let start = Instant::now();
    loop {
        if cancel.load(Ordering::Relaxed) {
            return Err(FetchError::Cancelled);
        }
        match time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
            Some(left) => std::thread::sleep(left.min(POLL)),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_checked_and_never_repeated() {
        let headers = ["Authorization: Bearer secret".to_owned()];
        let endpoint = Endpoint::new("https://node.example/v3/secret", &headers).expect("a good endpoint");
        assert_eq!(endpoint.host(), "node.example");
        for bad in ["", "node.example", "ftp://node.example", "http://", "https://secret:pw@node.example"] {
            let error = Endpoint::new(bad, &[]).expect_err(bad);
            assert!(error.is_usage() && !error.to_string().contains("secret"), "{error}");
        }
        for bad in ["secret", ": x", "a b: secret", "a: sec\nret"] {
            let error = Endpoint::new("http://localhost", &[bad.to_owned()]).expect_err(bad);
            assert!(error.is_usage() && !error.to_string().contains("secret"), "{error}");
        }
        assert!(!format!("{:?}", endpoint.headers).contains("secret"), "values are not shown");
    }

    #[test]
    fn this_machine_is_recognised() {
        for local in ["localhost", "127.0.0.1", "[::1]"] {
            assert!(is_local(local), "{local}");
        }
        assert!(!is_local("node.example"));
    }
}
