//! The tasks that work while this coordinator leads. Each owns its state; the others see a handle.

pub mod announcer;
pub mod archiver;
pub mod copier;
pub mod dispatcher;
mod fit;
mod job_set;
pub mod levels;
pub mod loudspeaker;
pub mod nearness;
pub mod planner;
pub mod registry;
pub mod sites;
pub mod sweeper;
pub mod tails;
pub mod view;
