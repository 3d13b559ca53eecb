//! The flags that say whom a node serves.

use super::Config;
use clap::Args;
use recode_types::amount;
use std::net::SocketAddr;

/// See the module.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Neighbours")]
#[group(skip)]
pub struct Flags {
    /// Serve the other nodes of this one's site (--label site=NAME) what was fetched of sources and the chunks made here, and ask
    /// them before the store: listen here [default: neither]
    #[arg(long, env = "RECODE_PEER_LISTEN", value_name = "IP:PORT")]
    peer_listen: Option<SocketAddr>,

    /// Where the other nodes reach that, if not at the same address
    #[arg(
        long,
        env = "RECODE_PEER_ADVERTISE",
        value_name = "HOST:PORT",
        requires = "peer_listen"
    )]
    peer_advertise: Option<String>,

    /// Room in scratch for what is kept for the other nodes; a quarter of --scratch-budget at most
    #[arg(long, env = "RECODE_PEER_KEEP", default_value = "4GB", value_name = "SIZE", value_parser = keep)]
    peer_keep: u64,

    /// Let --peer-listen be reached from other machines, although nobody is asked who they are
    #[arg(long, env = "RECODE_INSECURE")]
    insecure: bool,
}

fn keep(text: &str) -> Result<u64, String> {
    match amount::bytes(text)? {
        small if small < super::shelf::LEAST_ROOM_BYTES => Err("give it 68MB or more".to_owned()),
        bytes => Ok(bytes),
    }
}

impl Flags {
    /// How the node serves its site; `None`: not at all.
    pub fn config(&self) -> Option<Config> {
        Some(Config {
            listen: self.peer_listen?,
            advertise: self.peer_advertise.clone(),
            insecure: self.insecure,
            keep_bytes: self.peer_keep,
        })
    }
}
