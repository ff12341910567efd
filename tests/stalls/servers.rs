//! Real web services: the handler that blocks is named, whichever server and worker runs it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use asyncspy_test_support::interpreters::repository;
use asyncspy_test_support::trials::trial_unless;
use asyncspy_test_support::{Interpreter, Outcome};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::watching::{Stall, Watching};

const NAMES: [&str; 2] = ["3.12", "3.14"];

/// (name, package, words behind `python -m`).
const SERVERS: [(&str, &str, &[&str]); 3] = [
    (
        "uvicorn",
        "uvicorn",
        &[
            "uvicorn",
            "--loop",
            "asyncio",
            "--log-level",
            "warning",
            "--port",
        ],
    ),
    (
        "uvicorn-uvloop",
        "uvloop",
        &[
            "uvicorn",
            "--loop",
            "uvloop",
            "--log-level",
            "warning",
            "--port",
        ],
    ),
    (
        "gunicorn",
        "gunicorn",
        &[
            "gunicorn",
            "-w",
            "2",
            "-k",
            "uvicorn.workers.UvicornWorker",
            "-b",
        ],
    ),
];

/// How long a server may take to start on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests that block, and for how many milliseconds each.
const REQUESTS: usize = 4;
const BLOCKED_MS: u64 = 250;

/// Each server on two minors.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for interpreter in interpreters
        .iter()
        .filter(|each| NAMES.contains(&&*each.name))
    {
        for (name, package, words) in SERVERS {
            let lacks = [package, "fastapi"]
                .into_iter()
                .find(|each| !interpreter.has(each));
            let reason = lacks.map(|package| format!("no {package}"));
            let name = format!("servers::{name}::{}", interpreter.name);
            let each = interpreter.clone();
            let run = move || handler_is_named(&each, words);
            trials.push(trial_unless(reason.as_deref(), name, run));
        }
    }
    trials
}

/// A server with all its processes, which end with this value.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(interpreter: &Interpreter, words: &[&str]) -> Outcome<Self> {
        // Free a moment ago; nobody else on this machine asks for ports by number.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = match words.last() {
            Some(&"-b") => format!("127.0.0.1:{port}"),
            _ => port.to_string(),
        };
        let targets = repository().join("tests/targets");
        let mut path = interpreter.pythonpath.clone().unwrap_or_default();
        path.push(':');
        path.push_str(&targets.to_string_lossy());
        let child = Command::new(&interpreter.argv[0])
            .args(&interpreter.argv[1..])
            .arg("-m")
            .args(words)
            .args([&*address, "fastapi_app:app"])
            .env("PYTHONPATH", path)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self { child, port };
        let began = Instant::now();
        while server.get("/ok").is_err() {
            if began.elapsed() > PATIENCE {
                return Err("it does not answer".into());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    fn get(&self, path: &str) -> Outcome<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.starts_with("HTTP/1.1 200") {
            true => Ok(answer),
            false => Err(format!("not 200 but {answer}").into()),
        }
    }

    /// The processes that serve, as they say themselves, once there are so many.
    fn workers(&self, count: usize) -> Outcome<BTreeSet<i32>> {
        let mut workers = BTreeSet::new();
        let began = Instant::now();
        while workers.len() < count && began.elapsed() < PATIENCE {
            let answer = self.get("/ok")?;
            let (_, body) = answer.split_once("\r\n\r\n").ok_or("no body")?;
            let body: serde_json::Value = serde_json::from_str(body)?;
            workers.insert(i32::try_from(body["pid"].as_i64().ok_or("no pid")?)?);
        }
        Ok(workers)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its workers end with it if it is asked.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

fn handler_is_named(interpreter: &Interpreter, words: &[&str]) -> Outcome {
    let server = Server::start(interpreter, words)?;
    let mut watchings = Vec::new();
    let count = if words[0] == "gunicorn" { 2 } else { 1 };
    for worker in server.workers(count)? {
        watchings.push(Watching::start(worker, &["--threshold", "150"])?);
    }
    let seconds = BLOCKED_MS as f64 / 1e3;
    for _ in 0..REQUESTS {
        server.get(&format!("/slow-blocking?seconds={seconds}"))?;
        server.get("/ok")?;
    }
    thread::sleep(Duration::from_millis(200));
    let mut stalls = Vec::new();
    for watching in watchings {
        stalls.extend(watching.interrupt()?.stalls);
    }
    let named = stalls.iter().filter(|stall| is_named(stall)).count();
    match named == REQUESTS && stalls.len() == REQUESTS {
        true => Ok(()),
        false => {
            let seen: Vec<String> = stalls.iter().map(Stall::brief).collect();
            Err(format!("{named} of {REQUESTS} in {seen:#?}").into())
        }
    }
}

/// True if it is the request that blocks: its line, called by its handler, for its time.
fn is_named(stall: &Stall) -> bool {
    let place = stall.culprit.as_ref();
    let is_line = place.is_some_and(|place| {
        place.function == "block_request" && place.file.ends_with("/service_log.py")
    });
    let handler = stall.coroutine_stack.first();
    let is_handler = handler.is_some_and(|place| place.function == "slow_blocking");
    let off = stall.duration_ns.abs_diff(BLOCKED_MS * 1_000_000);
    is_line && is_handler && off < stall.uncertainty_ns + 30_000_000
}
