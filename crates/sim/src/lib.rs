//! Simulation of recode: thousands of runs full of faults, each reproducible from one number.
//!
//! First everything goes wrong that may, while the [`oracle`] looks at every step; then the faults stop, and everything must
//! come to its end. A broken invariant prints the seed, and the seed is the whole bug report.
//!
//! [`core_alone`] runs the state machine, the scheduler and the Leader's decisions on make-believe everything else: quick,
//! so many. [`cluster`] runs whole coordinators with the real openraft, log files and services on make-believe disks, network,
//! Nodes and clients. Both share [`faults`], [`schedule`], [`film`], [`slots`], [`fate`], [`client`] and [`oracle`].

pub mod campaign;
pub mod client;
pub mod cluster;
pub mod core_alone;
pub mod fate;
pub mod faults;
pub mod film;
pub mod oracle;
#[cfg(feature = "planted")]
pub mod planted;
mod quiet;
pub mod report;
pub mod rng;
pub mod schedule;
pub mod slots;
pub mod trace;
