//! A small HTTP server that answers JSON-RPC, well or badly.

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// An error of the node: code and message.
pub(crate) type NodeError = (i64, String);

/// How a request goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This status, with this `Retry-After`, and an empty body.
    Status(u16, Option<u64>),
    /// The connection is closed without an answer.
    Drop,
    /// The answer promises all its bytes and ends in the middle.
    BreakOff,
    /// The answer is whole as HTTP, and half as JSON.
    HalfJson,
    /// The answer takes so long.
    Slow(Duration),
    /// The request as a whole is answered by this error.
    Error(i64, &'static str),
}

type Answer = dyn Fn(&str, &Value) -> Result<Value, NodeError> + Send + Sync;
type Faults = dyn Fn(&str, usize) -> Option<Fault> + Send + Sync;

struct Shared {
    answer: Box<Answer>,
    /// By the first method of a request, and how many requests with it came before.
    faults: Box<Faults>,
    /// Every call: method, and when.
    log: Mutex<Vec<(String, Instant)>>,
    /// First method of every request.
    requests: Mutex<Vec<String>>,
    /// Headers of the latest request.
    headers: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// A server, until it is dropped.
pub(crate) struct Server {
    shared: Arc<Shared>,
    port: u16,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn new(
        answer: impl Fn(&str, &Value) -> Result<Value, NodeError> + Send + Sync + 'static,
        faults: impl Fn(&str, usize) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            faults: Box::new(faults),
            log: Mutex::default(),
            requests: Mutex::default(),
            headers: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let with = shared.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if with.stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let with = with.clone();
                std::thread::spawn(move || drop(serve(&with, stream)));
            }
        });
        Server { shared, port, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Times of the calls so far, by method; of all, if `method` is empty.
    pub(crate) fn calls(&self, method: &str) -> Vec<Instant> {
        let log = self.shared.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|(name, _)| method.is_empty() || name == method).map(|(_, at)| *at).collect()
    }

    pub(crate) fn headers(&self) -> Vec<String> {
        self.shared.headers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Serves one connection until it ends.
fn serve(shared: &Shared, stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let (mut length, mut headers, mut line) = (0, Vec::new(), String::new());
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            headers.push(line.to_owned());
        }
        *shared.headers.lock().unwrap_or_else(PoisonError::into_inner) = headers;
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let request: Value = serde_json::from_slice(&body).expect("a request is JSON");
        if !reply(shared, &mut stream, &request)? {
            return stream.shutdown(Shutdown::Both);
        }
    }
}

/// Answers one request; whether the connection stays.
fn reply(shared: &Shared, stream: &mut TcpStream, request: &Value) -> std::io::Result<bool> {
    let calls: Vec<&Value> = request.as_array().map_or_else(|| vec![request], |all| all.iter().collect());
    let name = |call: &Value| call["method"].as_str().expect("a method").to_owned();
    let first = name(calls[0]);
    let nth = {
        let mut requests = shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(first.clone());
        requests.iter().filter(|other| **other == first).count() - 1
    };
    for call in &calls {
        let mut log = shared.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push((name(call), Instant::now()));
    }
    let one = |call: &Value| match (shared.answer)(&name(call), &call["params"]) {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": call["id"], "result": result }),
        Err((code, message)) => {
            json!({ "jsonrpc": "2.0", "id": call["id"], "error": { "code": code, "message": message } })
        }
    };
    let all = || match request.is_array() {
        // In reverse: the order is not promised.
        true => Value::Array(calls.iter().rev().map(|call| one(call)).collect()).to_string(),
        false => one(request).to_string(),
    };
    let send = |stream: &mut TcpStream, status: u16, more: &str, body: &str, length: usize| {
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}content-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        stream.flush()
    };
    match (shared.faults)(&first, nth) {
        None => {
            let body = all();
            send(stream, 200, "", &body, body.len())?;
        }
        Some(Fault::Status(status, after)) => {
            let after = after.map_or_else(String::new, |after| format!("retry-after: {after}\r\n"));
            send(stream, status, &after, "", 0)?;
        }
        Some(Fault::Drop) => return Ok(false),
        Some(Fault::BreakOff) => {
            let body = all();
            send(stream, 200, "", &body[..body.len() / 2], body.len())?;
            return Ok(false);
        }
        Some(Fault::HalfJson) => {
            let body = all();
            send(stream, 200, "", &body[..body.len() / 2], body.len() / 2)?;
        }
        Some(Fault::Slow(time)) => {
            let body = all();
            std::thread::sleep(time);
            send(stream, 200, "", &body, body.len())?;
        }
        Some(Fault::Error(code, message)) => {
            let body = json!({ "jsonrpc": "2.0", "id": calls[0]["id"],
                "error": { "code": code, "message": message } });
            let body = body.to_string();
            send(stream, 200, "", &body, body.len())?;
        }
    }
    Ok(true)
}
