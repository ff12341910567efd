//! The Pythons at hand, from the manifest that `scripts/interpreters` writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Outcome;

/// The first minor version of CPython 3 that asyncspy reads.
const OLDEST_MINOR: u32 = 8;

/// One way to start a Python.
#[derive(Clone, Debug, Deserialize)]
pub struct Interpreter {
    /// Its name in the manifest: the version, and how it differs from others of that version.
    pub name: String,
    /// What it calls itself, such as `3.13.0`.
    pub version: String,
    /// The words that start it.
    pub argv: Vec<String>,
    /// The file of the interpreter; `argv` may name a script that leads there.
    pub binary: PathBuf,
    /// True for a debug build.
    pub debug: bool,
    /// True for a build without the GIL.
    pub free_threaded: bool,
    /// The folder that is its root; `None` when that is ours.
    pub chroot: Option<PathBuf>,
    /// PYTHONPATH with which `packages` can be imported.
    pub pythonpath: Option<String>,
    /// Packages that it can import, with their versions.
    pub packages: BTreeMap<String, String>,
}

impl Interpreter {
    /// (major, minor).
    #[must_use]
    pub fn minor(&self) -> (u32, u32) {
        let mut parts = self
            .version
            .split('.')
            .map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// True if asyncspy promises to read it.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        let (major, minor) = self.minor();
        major == 3 && minor >= OLDEST_MINOR
    }

    /// True if it is at least Python 3.`minor`.
    #[must_use]
    pub fn is_at_least(&self, minor: u32) -> bool {
        self.minor() >= (3, minor)
    }

    /// Why it cannot be started by this user; `None` when it can.
    #[must_use]
    pub fn obstacle(&self) -> Option<&'static str> {
        let needs_root = self.chroot.is_some() && !nix::unistd::Uid::effective().is_root();
        needs_root.then_some("chroot needs root")
    }

    /// True if a package can be imported.
    #[must_use]
    pub fn has(&self, package: &str) -> bool {
        self.packages.contains_key(package)
    }
}

/// All interpreters of the manifest, unsupported ones included.
///
/// # Errors
/// When there is no manifest: the message says how to make one.
pub fn load() -> Outcome<Vec<Interpreter>> {
    let path = repository().join("target/interpreters/manifest.json");
    let text = fs::read_to_string(&path).map_err(|error| {
        let path = path.display();
        format!("no Pythons to test with: {path}: {error}; run scripts/interpreters first")
    })?;
    Ok(serde_json::from_str(&text)?)
}

/// The interpreter of this name.
///
/// # Errors
/// As [`load`], and when there is none of that name.
pub fn named(name: &str) -> Outcome<Interpreter> {
    let found = load()?.into_iter().find(|each| each.name == name);
    found.ok_or_else(|| format!("scripts/interpreters found no Python {name}").into())
}

/// The folder of the whole project.
#[must_use]
pub fn repository() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}
