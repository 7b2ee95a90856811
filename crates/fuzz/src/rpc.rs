//! Answers of a node: a server on this machine gives what the bytes say.

use crate::files::in_folder;
use braid_fetch::{Endpoint, Options, Range, fetch};
use serde_json::{Value, json};
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

/// The block that is asked for, which the tiny case of the loaders' tests is.
const BLOCK: &str = "50000";

/// Longest request that the server reads.
const MAX_REQUEST: usize = 1 << 20;

/// A server on its own thread, for as long as the process.
struct Node {
    address: SocketAddr,
    answers: Arc<Mutex<Vec<u8>>>,
}

impl Node {
    fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, answers) = (listener.local_addr()?, Arc::new(Mutex::new(Vec::new())));
        let told: Arc<Mutex<Vec<u8>>> = answers.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answers = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // A client that goes away is no matter.
                let _ = serve(stream, &answers);
            }
        });
        Ok(Node { address, answers })
    }
}

/// Answers one request: each method by the member of that name. Bytes that are no object are the answer to
/// everything, as they are.
fn serve(stream: TcpStream, answers: &[u8]) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0).min(MAX_REQUEST);
        }
        line.clear();
    }
    let mut request = vec![0; length];
    reader.read_exact(&mut request)?;
    let body = reply(&request, answers);
    let mut stream = reader.into_inner();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

fn reply(request: &[u8], answers: &[u8]) -> Vec<u8> {
    let Ok(Value::Object(known)) = serde_json::from_slice(answers) else { return answers.to_vec() };
    let one = |request: &Value| {
        let result = request["method"].as_str().and_then(|method| known.get(method));
        match result {
            Some(result) => json!({"jsonrpc": "2.0", "id": request["id"], "result": result}),
            None => {
                json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "no"}})
            }
        }
    };
    let answer = match serde_json::from_slice(request) {
        Ok(Value::Array(all)) => all.iter().map(one).collect(),
        Ok(request) => one(&request),
        Err(_) => Value::Null,
    };
    answer.to_string().into_bytes()
}

/// A block is fetched from a node that answers with the bytes: it is written as a case that loads, or
/// refused with a reason.
pub(crate) fn answers(data: &[u8]) {
    static NODE: Mutex<Option<Node>> = Mutex::new(None);
    // Held throughout: there is one node.
    let mut node = NODE.lock().unwrap_or_else(PoisonError::into_inner);
    if node.is_none() {
        *node = Some(Node::start().unwrap_or_else(|error| panic!("a local server: {error}")));
    }
    let Some(node) = &*node else { return };
    *node.answers.lock().unwrap_or_else(PoisonError::into_inner) = data.to_vec();
    let url = format!("http://{}", node.address);
    let endpoint = Endpoint::new(&url, &[]).unwrap_or_else(|error| panic!("{url}: {error}"));
    let range: Range = BLOCK.parse().unwrap_or_else(|error| panic!("{BLOCK}: {error}"));
    in_folder(|folder| {
        let out = folder.join("out");
        let options = Options {
            retries: 0,
            timeout: Duration::from_secs(10),
            max_bytes: 1 << 20,
            ..Options::new(endpoint, out.clone())
        };
        let summary = fetch(&range, &options, &AtomicBool::new(false), &mut ());
        if let Some(error) = &summary.stopped {
            assert!(!error.to_string().is_empty());
        }
        // Whatever is left is whole.
        for source in braid_work::load(&out).unwrap_or_default() {
            source.load().unwrap_or_else(|error| panic!("a case was written that does not load: {error}"));
        }
    });
}
