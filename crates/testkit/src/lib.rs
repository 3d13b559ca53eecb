//! For tests only: in-process cluster and generated clips
