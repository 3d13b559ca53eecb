//! Who gets which Task: a pure function of a [`Problem`]. See README.md beside.

mod class;
mod fleet;
mod load;
mod memory;
mod problem;
mod relief;
mod solve;
mod speed;
mod trust;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use class::Class;
pub use fleet::Fleet;
pub use load::{Held, Load, Pending};
pub use memory::Memory;
pub use problem::{FreeNode, Placed, Problem, Reason, Solution};
pub use relief::relieve;
pub use solve::{assign, look};
pub use speed::Speeds;
pub use trust::{Standing, Trust};
