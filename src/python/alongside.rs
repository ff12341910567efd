//! What is read in one call with a stack.

use asyncspy_model::RemoteAddr;

use super::frame::RawFrame;
use super::stack_passes::Proven;
use crate::layout::Layout;
use crate::target::gather::Gather;

/// A range of memory: address, and length in bytes.
pub type Range = (RemoteAddr, usize);

/// What is read in one call with a stack.
pub trait Alongside {
    /// Takes notice of the frames that are expected there, innermost first.
    fn expect(&mut self, _frames: &[RawFrame]) {}

    /// A frame that is on the stack as long as there is anything of interest on it.
    fn anchor(&self) -> Option<RemoteAddr> {
        None
    }

    /// A range that both passes read along with the frames; `None` for none.
    fn within(&self, _layout: &Layout) -> Option<Range> {
        None
    }

    /// Adds ranges that are read between the two passes: what they show was so while the stack
    /// stood. Few of them, since the stack moves on meanwhile.
    fn between(&mut self, _gather: &mut Gather) {}

    /// Adds ranges that are read after both.
    fn after(&mut self, _gather: &mut Gather) {}

    /// Takes what was read with a stack that is proven; false if not all of it was where it was
    /// expected, so that stack and all are to be read again.
    fn settles(&mut self, _proven: Proven<'_>, _frames: &[RawFrame]) -> bool {
        true
    }
}

/// The stack and nothing else.
impl Alongside for () {}
