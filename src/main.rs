//! asyncspy
use asyncspy::aio::snapshot::{Snapshooter, SnapshotOptions};
use asyncspy::python::Python;

fn main() {
    let pid: i32 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(0);
    match Python::attach(pid) {
        Ok(python) => {
            let mut s = Snapshooter::default();
            let n: usize = std::env::args().nth(2).and_then(|a| a.parse().ok()).unwrap_or(1);
            for _ in 1..n { let x = s.take(&python, SnapshotOptions::default()); if let Ok(x) = x { eprintln!("{} tasks {} complete {} {:?} {} us", x.python, x.tasks.len(), x.complete, x.faults, x.elapsed_ns/1000); } }
            let snap = s.take(&python, SnapshotOptions { locals: false });
            match snap { Ok(s) => println!("{}", serde_json::to_string(&s).unwrap_or_default()), Err(e) => eprintln!("{e}") }
        }
        Err(e) => eprintln!("{e}"),
    }
}
