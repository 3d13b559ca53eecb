//! The client library and recode-client
