//! Reading the memory of another process.

use asyncspy_model::RemoteAddr;
use nix::errno::Errno;
use nix::sys::uio::process_vm_readv;
use nix::unistd::Pid;
use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

/// A range to read in a vectored call.
pub use nix::sys::uio::RemoteIoVec as Piece;

/// `UIO_MAXIOV`: how many pieces Linux takes in one call (include/uapi/linux/uio.h).
pub const MAX_PIECES: usize = 1024;

/// Why a read gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// Nothing is mapped there, or not all of it. Another address may succeed.
    #[error("{len} bytes at {addr} are not readable")]
    Unmapped {
        /// Where.
        addr: RemoteAddr,
        /// How many bytes were asked for.
        len: usize,
    },
    /// The process has ended, or has replaced itself so that its memory is gone. Final.
    #[error("the process has ended")]
    Gone,
    /// The kernel refuses reads of this process. Final.
    #[error("permission denied")]
    Denied,
    /// What was read cannot be what it should be; it changed while it was read, or it lies.
    #[error("{what} at {addr} makes no sense")]
    Implausible {
        /// Where.
        addr: RemoteAddr,
        /// What should have been there.
        what: &'static str,
    },
    /// The budget of one result for memory is used up.
    #[error("more memory than allowed would be needed")]
    Budget,
}

impl MemoryError {
    /// The error for contents that cannot be right.
    #[must_use]
    pub const fn implausible(addr: RemoteAddr, what: &'static str) -> Self {
        Self::Implausible { addr, what }
    }

    /// True if no later read of this process can succeed.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Gone | Self::Denied)
    }
}

/// Anything whose bytes can be read by address.
pub trait MemoryView {
    /// Fills `buf` with the bytes at `addr`.
    ///
    /// # Errors
    /// [`MemoryError::Unmapped`] if any of the bytes cannot be read; then `buf` holds anything.
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError>;

    /// Tells that these ranges are about to be read, so that they can be fetched together. They
    /// need not be readable.
    ///
    /// # Errors
    /// [`MemoryError::Gone`], [`MemoryError::Denied`], [`MemoryError::Budget`].
    fn expect(
        &self,
        _ranges: &mut dyn Iterator<Item = (RemoteAddr, u64)>,
    ) -> Result<(), MemoryError> {
        Ok(())
    }

    /// Reads each of these ranges, one behind the other, into `buf`, which is as long as they are
    /// together, and returns which of them arrived. What lies around them is not fetched: for what
    /// is small and looked at once.
    ///
    /// # Errors
    /// [`MemoryError::Gone`] and [`MemoryError::Denied`] only.
    fn read_each(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<Vec<bool>, MemoryError> {
        let mut rest = buf;
        let each = pieces.iter().map(|piece| {
            let (place, next) = std::mem::take(&mut rest).split_at_mut(piece.len);
            rest = next;
            match self.read(RemoteAddr(piece.base as u64), place) {
                Err(error) if error.is_final() => Err(error),
                outcome => Ok(outcome.is_ok()),
            }
        });
        each.collect()
    }

    /// The `N` bytes at `addr`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn read_array<const N: usize>(&self, addr: RemoteAddr) -> Result<[u8; N], MemoryError>
    where
        Self: Sized,
    {
        let mut buf = [0; N];
        self.read(addr, &mut buf)?;
        Ok(buf)
    }
}

/// Typed reads for every [`MemoryView`]. Little-endian; errors as [`MemoryView::read`].
pub trait MemoryViewExt: MemoryView {
    /// A byte.
    ///
    /// # Errors
    /// As [`MemoryView::read`].
    fn read_u8(&self, addr: RemoteAddr) -> Result<u8, MemoryError> {
        let mut buf = [0; 1];
        self.read(addr, &mut buf)?;
        Ok(buf[0])
    }

    /// A 32-bit number.
    ///
    /// # Errors
    /// As [`MemoryView::read`].
    fn read_u32(&self, addr: RemoteAddr) -> Result<u32, MemoryError> {
        let mut buf = [0; 4];
        self.read(addr, &mut buf)?;
        Ok(u32::from_le_bytes(buf))
    }

    /// A 64-bit number.
    ///
    /// # Errors
    /// As [`MemoryView::read`].
    fn read_u64(&self, addr: RemoteAddr) -> Result<u64, MemoryError> {
        let mut buf = [0; 8];
        self.read(addr, &mut buf)?;
        Ok(u64::from_le_bytes(buf))
    }

    /// A pointer; null is a value like any other.
    ///
    /// # Errors
    /// As [`MemoryView::read`].
    fn read_ptr(&self, addr: RemoteAddr) -> Result<RemoteAddr, MemoryError> {
        self.read_u64(addr).map(RemoteAddr)
    }

    /// `len` bytes.
    ///
    /// # Errors
    /// As [`MemoryView::read`]. The caller bounds `len`.
    fn read_vec(&self, addr: RemoteAddr, len: usize) -> Result<Vec<u8>, MemoryError> {
        let mut buf = vec![0; len];
        self.read(addr, &mut buf)?;
        Ok(buf)
    }
}

impl<T: MemoryView + ?Sized> MemoryViewExt for T {}

/// The memory of a process, with reads of many places at once.
pub trait ProcessMemory: MemoryView {
    /// Reads all `pieces`, in order, one behind the other into `buf`, and returns how many bytes
    /// arrived: fewer than asked for when a piece is not readable, which ends the read there.
    /// `buf` is at least as long as the pieces together; at most [`MAX_PIECES`] pieces.
    ///
    /// # Errors
    /// [`MemoryError::Gone`] and [`MemoryError::Denied`] only.
    fn gather(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<usize, MemoryError>;

    /// Itself as a plain view.
    fn as_view(&self) -> &dyn MemoryView;
}

/// The memory of any kind of process: running, or recorded.
pub type AnyMemory = Box<dyn ProcessMemory + Send + Sync>;

impl std::fmt::Debug for dyn ProcessMemory + Send + Sync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProcessMemory")
    }
}

impl<M: MemoryView + ?Sized> MemoryView for Box<M> {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        (**self).read(addr, buf)
    }
}

impl<M: ProcessMemory + ?Sized> ProcessMemory for Box<M> {
    fn gather(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<usize, MemoryError> {
        (**self).gather(pieces, buf)
    }

    fn as_view(&self) -> &dyn MemoryView {
        (**self).as_view()
    }
}

/// Reads any number of pieces one behind the other into `buf`, skipping what cannot be read;
/// `ok[i]` tells whether piece `i` arrived. Pieces are read in their order.
///
/// # Errors
/// [`MemoryError::Gone`] and [`MemoryError::Denied`] only.
pub fn gather_all(
    memory: &dyn ProcessMemory,
    pieces: &[Piece],
    buf: &mut [u8],
    ok: &mut Vec<bool>,
) -> Result<(), MemoryError> {
    ok.clear();
    let mut offset = 0;
    while ok.len() < pieces.len() {
        let first = ok.len();
        let batch = &pieces[first..pieces.len().min(first + MAX_PIECES)];
        let mut got = memory.gather(batch, &mut buf[offset..])?;
        for piece in batch {
            if got < piece.len {
                // The kernel may stop within a piece; what arrived of it is of no use.
                ok.push(false);
                offset += piece.len;
                break;
            }
            got -= piece.len;
            offset += piece.len;
            ok.push(true);
        }
    }
    Ok(())
}

/// The memory of a running process, through `process_vm_readv`; where the kernel or a seccomp
/// filter forbids that call, through `/proc/PID/mem`.
#[derive(Debug)]
pub struct LiveMemory {
    pid: Pid,
    proc_mem: OnceLock<Option<File>>,
}

impl LiveMemory {
    /// Prepares to read `pid`; nothing is read yet.
    #[must_use]
    pub fn new(pid: i32) -> Self {
        Self {
            pid: Pid::from_raw(pid),
            proc_mem: OnceLock::new(),
        }
    }

    /// The process that is read.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    fn gather_from_file(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<usize, MemoryError> {
        let path = format!("/proc/{}/mem", self.pid);
        let file = self.proc_mem.get_or_init(|| File::open(path).ok());
        let Some(file) = file else {
            return Err(MemoryError::Denied);
        };
        let mut offset = 0;
        for piece in pieces {
            let place = &mut buf[offset..offset + piece.len];
            if file.read_exact_at(place, piece.base as u64).is_err() {
                break;
            }
            offset += piece.len;
        }
        Ok(offset)
    }
}

impl MemoryView for LiveMemory {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let len = buf.len();
        let piece = piece(addr, len);
        if self.gather(&[piece], buf)? == len {
            return Ok(());
        }
        Err(MemoryError::Unmapped { addr, len })
    }
}

impl ProcessMemory for LiveMemory {
    fn gather(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<usize, MemoryError> {
        match process_vm_readv(self.pid, &mut [IoSliceMut::new(buf)], pieces) {
            Ok(count) => Ok(count),
            Err(Errno::ESRCH) => Err(MemoryError::Gone),
            Err(Errno::EPERM | Errno::ENOSYS) => self.gather_from_file(pieces, buf),
            // EFAULT: the very first piece is not mapped. EINVAL: its range wraps around.
            Err(_) => Ok(0),
        }
    }

    fn as_view(&self) -> &dyn MemoryView {
        self
    }
}

/// The piece of `len` bytes at `addr`.
#[must_use]
pub const fn piece(addr: RemoteAddr, len: usize) -> Piece {
    Piece {
        base: addr.0 as usize,
        len,
    }
}

/// Reads fields out of a block that was read whole. Out-of-range reads give 0: blocks have a
/// length that the layout's offsets were checked against.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    #[inline]
    fn array<const N: usize>(&self, offset: u64) -> [u8; N] {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = start.checked_add(N).and_then(|end| self.0.get(start..end));
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .unwrap_or([0; N])
    }

    /// The byte at `offset`.
    #[must_use]
    pub fn u8(&self, offset: u64) -> u8 {
        self.array::<1>(offset)[0]
    }

    /// The 16-bit number at `offset`.
    #[must_use]
    pub fn u16(&self, offset: u64) -> u16 {
        u16::from_le_bytes(self.array(offset))
    }

    /// The signed 32-bit number at `offset`.
    #[must_use]
    pub fn i32(&self, offset: u64) -> i32 {
        i32::from_le_bytes(self.array(offset))
    }

    /// The 64-bit number at `offset`.
    #[must_use]
    pub fn u64(&self, offset: u64) -> u64 {
        u64::from_le_bytes(self.array(offset))
    }

    /// The pointer at `offset`.
    #[must_use]
    pub fn ptr(&self, offset: u64) -> RemoteAddr {
        RemoteAddr(self.u64(offset))
    }
}
