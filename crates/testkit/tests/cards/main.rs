//! Encoders of graphics cards, on machines that have none: FFmpeg's own option parser on every argument list, and an FFmpeg
//! with scripted cards for the rest. Nothing here has seen a card.

mod chunks;
mod jobs;
mod lists;
mod measured;
mod site;
