//! The wire: generated code and conversions
