//! Recordings of an interpreter: the memory that its readers touched, and where they began.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use asyncspy_model::RemoteAddr;
use serde::{Deserialize, Serialize};

use super::attach::{Anchors, AttachError, Python};
use crate::layout::PythonVersion;
use crate::target::process::ProcessFacts;
use crate::target::recorded::RecordedMemory;

/// A process id that Linux never gives (PID_MAX_LIMIT is 2^22): the system has nothing to tell of
/// a process whose memory was recorded.
const NO_PROCESS: i32 = i32::MAX;

/// The line of text of a recording.
#[derive(Serialize, Deserialize)]
struct Header {
    /// Version, such as `3.12.1`.
    python: String,
    inner_pid: i32,
    runtime: RemoteAddr,
    interpreter: RemoteAddr,
    version: Option<(u8, u8, u8)>,
    asyncio_table: RemoteAddr,
}

/// An interpreter whose memory was recorded.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The process, as far as it is known.
    pub facts: ProcessFacts,
    /// Its memory.
    pub memory: RecordedMemory,
    /// Where its interpreter is.
    pub anchors: Anchors,
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    /// What the reader returned, or [`io::ErrorKind::InvalidData`] for what is no recording.
    pub fn read_from(input: impl BufRead) -> io::Result<Self> {
        let (text, memory) = RecordedMemory::read_from(input)?;
        let header: Header = serde_json::from_str(&text)?;
        let version = header.version;
        Ok(Self {
            facts: ProcessFacts {
                pid: NO_PROCESS,
                inner_pid: header.inner_pid,
                has_other_ids: false,
                exe: PathBuf::new(),
                command: format!("recorded Python {}", header.python),
                start_ticks: 0,
                program: None,
                started_unix_ns: 0,
                monotonic_shift_ns: 0,
            },
            memory,
            anchors: Anchors {
                runtime: header.runtime,
                interpreter: header.interpreter,
                version: version
                    .map(|(major, minor, patch)| PythonVersion::new(major, minor, patch)),
                asyncio_table: header.asyncio_table,
            },
        })
    }

    /// The recorded interpreter.
    ///
    /// # Errors
    /// As [`Python::open`].
    pub fn open(&self) -> Result<Python, AttachError> {
        let memory = Box::new(self.memory.clone());
        Python::open(self.facts.clone(), memory, self.anchors)
    }

    /// Writes what was recorded of an interpreter.
    ///
    /// # Errors
    /// What the writer returned.
    pub fn write(python: &Python, memory: &RecordedMemory, output: impl Write) -> io::Result<()> {
        let anchors = &python.anchors;
        let header = Header {
            python: python.layout.version.to_string(),
            inner_pid: python.facts.inner_pid,
            runtime: anchors.runtime,
            interpreter: anchors.interpreter,
            version: anchors
                .version
                .map(|version| (version.major, version.minor, version.patch)),
            asyncio_table: anchors.asyncio_table,
        };
        memory.write_to(&serde_json::to_string(&header)?, output)
    }
}
