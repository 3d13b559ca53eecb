//! FFmpeg and containers; knows nothing of jobs
