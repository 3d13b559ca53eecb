//! Translation between the wire and `recode-types`, both ways, one file per group of nouns.
//!
//! Towards the wire it is `From` and cannot fail; from the wire it is `TryFrom` and checks everything, since what comes
//! from outside may be anything. Limits of size are checked here too, before anybody allocates for them.

mod cluster;
mod command;
mod event;
mod explain;
pub mod list;
mod node;
mod rendition;
mod request;
pub mod status;

/// The most bytes of one message on any of our streams. Grants and outcomes of long ladders are the largest.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// The most Outputs of one Job.
pub const MAX_OUTPUTS: usize = 64;

/// The longest text accepted in one field, in bytes.
pub const MAX_TEXT_BYTES: usize = 4096;

/// The most bytes of one request for a Job: it becomes one entry of the log.
pub const MAX_REQUEST_BYTES: usize = 64 << 10;

/// The longest request id, in bytes.
pub const MAX_REQUEST_ID_BYTES: usize = 128;

/// The most Jobs of one page of a list.
pub const MAX_LISTED: usize = 1000;

/// The most Jobs of one watch.
pub const MAX_WATCHED: usize = 256;

/// The most Attempts of one report: held, and finished ones not yet acknowledged.
pub const MAX_ATTEMPTS: usize = 4096;

/// A message that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// An enum has a value of another version, or none.
    #[error(
        "{field} has the unknown value {value}; use a client and a coordinator of the same version"
    )]
    Unknown {
        /// The field.
        field: &'static str,
        /// What came.
        value: i32,
    },
    /// A value that cannot be.
    #[error("{field} is not valid: {problem}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Too much of something.
    #[error("{field} is too long: {length}, the limit is {limit}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// What came.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
}

impl Error {
    /// The field it is about.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Missing(field)
            | Self::Unknown { field, .. }
            | Self::Invalid { field, .. }
            | Self::TooLong { field, .. } => field,
        }
    }
}

/// An error that says what is wrong with `field`.
fn invalid(field: &'static str, problem: impl std::fmt::Display) -> Error {
    Error::Invalid {
        field,
        problem: problem.to_string(),
    }
}

/// `value` where it is short enough.
fn text(field: &'static str, value: String) -> Result<String, Error> {
    at_most(field, value.len(), MAX_TEXT_BYTES)?;
    Ok(value)
}

/// Nothing where there is not too much of it.
fn at_most(field: &'static str, length: usize, limit: usize) -> Result<(), Error> {
    if length > limit {
        return Err(Error::TooLong {
            field,
            length,
            limit,
        });
    }
    Ok(())
}

/// A request id that a client has chosen. `needed`: it may not be empty.
/// # Errors
/// It is empty, or too long.
pub fn request_id(value: String, needed: bool) -> Result<String, Error> {
    if needed && value.is_empty() {
        return Err(Error::Missing("request_id"));
    }
    at_most("request_id", value.len(), MAX_REQUEST_ID_BYTES)?;
    Ok(value)
}

/// A sentence for people.
/// # Errors
/// It is too long.
pub fn sentence(field: &'static str, value: String) -> Result<String, Error> {
    text(field, value)
}

/// Reads an id that was printed.
/// # Errors
/// It is something else.
pub fn id<T>(field: &'static str, value: &str) -> Result<T, Error>
where
    T: std::str::FromStr<Err = recode_types::id::ParseIdError>,
{
    if value.is_empty() {
        return Err(Error::Missing(field));
    }
    // Told back to whoever sent it: not at any length.
    at_most(field, value.len(), MAX_REQUEST_ID_BYTES)?;
    value.parse().map_err(|e| invalid(field, e))
}

/// A number that must fit a smaller type.
fn narrow<T: TryFrom<u32>>(field: &'static str, value: u32) -> Result<T, Error> {
    T::try_from(value).map_err(|_| invalid(field, format!("{value} is too large")))
}

/// Both directions between a wire enum and a plain one, exhaustive on the plain side.
macro_rules! mirror_enum {
    ($wire:path, $plain:path, $field:literal, { $($variant:ident),+ $(,)? }) => {
        impl From<$plain> for $wire {
            fn from(value: $plain) -> Self {
                match value { $(<$plain>::$variant => <$wire>::$variant,)+ }
            }
        }
        impl TryFrom<$wire> for $plain {
            type Error = crate::convert::Error;
            fn try_from(value: $wire) -> Result<Self, Self::Error> {
                match value {
                    $(<$wire>::$variant => Ok(<$plain>::$variant),)+
                    <$wire>::Unspecified => Err(crate::convert::Error::Unknown { field: $field, value: 0 }),
                }
            }
        }
    };
}
use mirror_enum;

/// Reads the number of a wire enum as the plain one.
fn plain<W, P>(field: &'static str, value: i32) -> Result<P, Error>
where
    W: TryFrom<i32>,
    P: TryFrom<W>,
{
    W::try_from(value)
        .ok()
        .and_then(|wire| P::try_from(wire).ok())
        .ok_or(Error::Unknown { field, value })
}
