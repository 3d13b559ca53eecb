//! The coordinator: replicated job state, planning, dispatch
