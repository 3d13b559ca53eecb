//! The program against a cluster: coordinators and nodes on real gRPC, jobs from the command line.

#[path = "../common/cluster.rs"]
mod cluster;
#[path = "../common/mod.rs"]
mod common;

mod follow;
mod jobs;
mod submit;
mod upload;
