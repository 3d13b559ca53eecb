//! The tasks that work while this coordinator leads. Each owns its state; the others see a handle.

pub mod announcer;
pub mod archiver;
pub mod copier;
pub mod dispatcher;
mod job_set;
pub mod levels;
pub mod loudspeaker;
pub mod planner;
pub mod sweeper;
pub mod tails;
pub mod view;
