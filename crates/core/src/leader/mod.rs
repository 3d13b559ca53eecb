//! What the Leader keeps in memory and decides from: who was heard ([`registry`]), who shares bytes with whom ([`sites`]), which
//! site is to have which Segment ([`nearness`]), whom a Task is kept from ([`fit`]), where an Output is joined
//! ([`cheapest`]), how much memory Tasks are likely to need ([`footprint`]), how fast those will be who were
//! never tried ([`foretell()`]), and who can be trusted ([`judge()`]). Time is an argument.
//!
//! None of it is in the log: Nodes say all of it again to the next Leader.

pub mod cheapest;
pub mod fit;
pub mod footprint;
mod foretell;
mod judge;
pub mod nearness;
pub mod registry;
pub mod sites;

pub use foretell::foretell;
pub use judge::{Verdict, apart, judge};
pub use nearness::Nearness;
pub use registry::{Difference, Registry};
pub use sites::{Member, Sites, Told};
