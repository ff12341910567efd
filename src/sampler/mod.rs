//! Samples what each loop does, tick by tick.
//!
//! - [`clock`]: when to sample; [`alarms`] and [`promptness`]: to be there in time.
//! - [`rest`]: leaving loops asleep that are.
//! - [`in_kernel`]: having the kernel look, in the loop's own thread.
//! - [`loop_sampler`]: one loop in one tick, in as few calls as can be.
//! - [`alongside`]: what else is read along with it: [`task_reads`] the running task, and counts
//!   of turns.
//! - [`last_stack`] and [`running_step`]: what most looks find again.
//! - [`load`]: how much a loop has to do.
//! - [`opaque`]: loops that have no frame of their own.
//! - [`tables`]: stacks and tasks by number, defined in the stream before their first use.
//! - [`task_names`]: who a running task is, and who awaits it.
//! - [`discovery`]: which threads run loops.
//! - [`interruptions`]: telling a stopped target from a stalled one.
//! - [`os_state`]: what the kernel says of a thread.
//! - [`shared`]: what the samplers of a session have in common.
//! - [`session`]: the thread that does all this, and the stream that it feeds.

pub mod alarms;
pub mod alongside;
pub mod clock;
pub mod discovery;
pub mod in_kernel;
pub mod interruptions;
pub mod last_stack;
pub mod load;
pub mod loop_sampler;
pub mod opaque;
pub mod os_state;
pub mod promptness;
pub mod rest;
pub mod running_step;
pub mod session;
pub mod shared;
pub mod tables;
pub mod task_names;
pub mod task_reads;
