//! Artifacts over object_store
