//! Benchmarks: recode-bench
