//! A way to a NATS server on which messages are lost, repeated and overtaken.

use super::wire::Head;
use std::io::{self, BufReader};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What happens to messages on their way from the server, each in so many of a hundred.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mischief {
    /// It is lost.
    pub lost: u8,
    /// It comes twice.
    pub twice: u8,
    /// It comes after the next one.
    pub late: u8,
}

/// See the module. Ends when dropped, with every connection.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A way to the server at `to`. `seed` decides what happens to which message.
    /// # Errors
    /// What the system said.
    pub fn start(to: SocketAddr, mischief: Mischief, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let accepting = std::thread::spawn({
            let (stop, done, open) = (stop.clone(), done.clone(), open.clone());
            move || {
                let mut seeds = fastrand::Rng::with_seed(seed);
                for client in listener.incoming() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    // A server that is gone: the client is hung up on, as it would be.
                    let (Ok(client), Ok(server)) = (client, TcpStream::connect(to)) else {
                        continue;
                    };
                    let chance = seeds.fork();
                    // Both ways end when either side hangs up, or when the proxy does.
                    let _ = join(client, server, mischief, chance, &done, &open);
                }
            }
        });
        Ok(Self {
            address,
            stop,
            done,
            open,
            accepting: Some(accepting),
        })
    }

    /// As programs are told.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Messages to which something was done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the one that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for stream in self.open.lock().expect("nobody panics with it").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn join(
    client: TcpStream,
    server: TcpStream,
    mischief: Mischief,
    chance: fastrand::Rng,
    done: &Arc<AtomicU64>,
    open: &Mutex<Vec<TcpStream>>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut open = open.lock().expect("nobody panics with it");
    open.extend([client.try_clone()?, server.try_clone()?]);
    drop(open);
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let done = done.clone();
    std::thread::spawn(move || {
        let mut to = client;
        let _ = pass(
            &mut BufReader::new(server),
            &mut to,
            mischief,
            chance,
            &done,
        );
        let _ = to.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// Passes on what a server says until it hangs up.
fn pass(
    from: &mut impl io::BufRead,
    to: &mut impl io::Write,
    mischief: Mischief,
    mut chance: fastrand::Rng,
    done: &AtomicU64,
) -> io::Result<()> {
    let mut late: Vec<u8> = Vec::new();
    loop {
        let mut bytes = Vec::new();
        if from.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&bytes).into_owned();
        let head = line
            .strip_prefix("MSG ")
            .or_else(|| line.strip_prefix("HMSG "));
        let Some(length) = head.and_then(Head::bytes_after) else {
            to.write_all(&bytes)?;
            continue;
        };
        let start = bytes.len();
        bytes.resize(start + length + 2, 0);
        from.read_exact(&mut bytes[start..])?;
        let drawn = chance.u8(..100);
        let Mischief {
            lost,
            twice,
            late: held,
        } = mischief;
        let before = std::mem::take(&mut late);
        if drawn < lost {
            done.fetch_add(1, Ordering::Relaxed);
        } else if drawn < lost + twice {
            done.fetch_add(1, Ordering::Relaxed);
            to.write_all(&bytes)?;
            to.write_all(&bytes)?;
        } else if drawn < lost + twice + held && before.is_empty() {
            done.fetch_add(1, Ordering::Relaxed);
            late = bytes;
        } else {
            to.write_all(&bytes)?;
        }
        to.write_all(&before)?;
    }
}
