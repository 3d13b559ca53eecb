//! Neighbours without nodes around them.

use bytes::Bytes;
use recode_node::peer::{Config, Near, Neighbours, home, serve};
use recode_store::Source;
use recode_testkit::http::Server;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Room of each for what it fetches for the others.
const ROOM: u64 = 256 << 20;

/// A node as its neighbours see it.
pub struct Neighbour {
    pub neighbours: Neighbours,
    serving: JoinHandle<()>,
    stop: CancellationToken,
    scratch: tempfile::TempDir,
}

impl Neighbour {
    pub fn start() -> Self {
        Self::with_room(ROOM)
    }

    pub fn with_room(room: u64) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            advertise: None,
            insecure: false,
            keep_bytes: room,
        };
        let (listener, own) = serve::listen(&config).unwrap();
        let neighbours = Neighbours::new(own, scratch.path(), room).unwrap();
        let stop = CancellationToken::new();
        let serving = serve::serve(neighbours.clone(), listener, stop.clone());
        Self {
            serving: tokio::spawn(serving),
            neighbours,
            stop,
            scratch,
        }
    }

    pub fn address(&self) -> String {
        self.neighbours.own().to_owned()
    }

    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    pub async fn open(&self, url: &str) -> Near {
        let source = Source::open(url, self.scratch.path()).await.unwrap();
        Near::new(source, Some(self.neighbours.clone()))
    }

    pub async fn end(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
    }
}

/// Bytes that say where they are.
pub fn film(bytes: usize) -> Bytes {
    let words = (0..bytes.div_ceil(8) as u64)
        .flat_map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes());
    words.take(bytes).collect()
}

/// An address of the film under which so many of its stripes have their home at `node`: who is home to what follows from the
/// ports, which are others in every run.
pub async fn where_home(
    server: &Server,
    site: &[String],
    node: &str,
    stripes: std::ops::RangeInclusive<usize>,
) -> String {
    let scratch = tempfile::tempdir().unwrap();
    for number in 0..10_000 {
        let url = format!("{}?{number}", server.url());
        let source = Source::open(&url, scratch.path()).await.unwrap();
        let name = home::name(source.identity());
        let all = 0..source.size().div_ceil(home::STRIPE_BYTES);
        let homes = all.map(|stripe| home::ranked(&name, stripe, site)[0]);
        if stripes.contains(&homes.filter(|home| *home == node).count()) {
            return url;
        }
    }
    panic!("no address of 10,000 does");
}

/// Tells everybody of everybody.
pub fn introduce(site: &[Neighbour], others: &[String]) {
    let mut addresses: Vec<String> = site.iter().map(Neighbour::address).collect();
    addresses.extend_from_slice(others);
    for one in site {
        one.neighbours.site_is(addresses.clone());
    }
}

/// Reads all of the film, in parts that begin and end anywhere, and compares it.
pub async fn read_all(near: &Near, film: &Bytes, step: usize) {
    let mut at = 0;
    while at < film.len() {
        let end = (at + step).min(film.len());
        let bytes = near.read(at as u64..end as u64).await.unwrap();
        assert!(bytes == film.slice(at..end), "bytes {at}..{end} are others");
        at = end;
    }
}

const MB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_that_all_read_a_whole_source_fetch_every_byte_of_it_once() {
    let film = film(70 * MB + 5);
    let server = Server::start(film.clone()).unwrap();
    let site: Vec<_> = (0..4).map(|_| Neighbour::start()).collect();
    introduce(&site, &[]);
    let mut reading = Vec::new();
    for (number, one) in site.iter().enumerate() {
        let (near, film) = (one.open(&server.url()).await, film.clone());
        // At the same time, and never the same parts.
        reading.push(tokio::spawn(async move {
            read_all(&near, &film, 3 * MB + number * 500_000 + 1).await;
        }));
    }
    for one in reading {
        one.await.unwrap();
    }
    let traffic: Vec<_> = site.iter().map(|one| one.neighbours.traffic()).collect();
    let from_store: u64 = traffic.iter().map(|t| t.from_store).sum();
    assert_eq!(from_store, film.len() as u64, "{traffic:?}");
    // Opening looks at a byte or two.
    let sent = server.counts().bytes_sent;
    assert!(
        sent <= film.len() as u64 + 100,
        "{sent} bytes left the server"
    );
    let (from, to) = traffic.iter().fold((0, 0), |(from, to), t| {
        (from + t.from_peers, to + t.to_peers)
    });
    assert_eq!(from, to);
    // A quarter of what each reads is its own.
    assert_eq!(from, 4 * film.len() as u64 - film.len() as u64);
    for one in site {
        one.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_gone_costs_bytes_and_nothing_else() {
    let film = film(40 * MB);
    let server = Server::start(film.clone()).unwrap();
    let mut site: Vec<_> = (0..3).map(|_| Neighbour::start()).collect();
    let gone = site.pop().unwrap();
    introduce(&site, &[gone.address()]);
    let mut all = vec![gone.address()];
    all.extend(site.iter().map(Neighbour::address));
    let url = where_home(&server, &all, &gone.address(), 2..=3).await;
    gone.end().await;
    let near = site[0].open(&url).await;
    read_all(&near, &film, 5 * MB).await;
    // Its stripes have a stand-in: what another has read already is not fetched again.
    let near = site[1].open(&url).await;
    read_all(&near, &film, 5 * MB).await;
    let from_store: u64 = site
        .iter()
        .map(|one| one.neighbours.traffic().from_store)
        .sum();
    assert_eq!(from_store, film.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_alone_or_unknown_to_the_others_reads_from_the_store() {
    let film = film(10 * MB);
    let server = Server::start(film.clone()).unwrap();
    let one = Neighbour::start();
    for site in [
        vec![],
        vec![one.address()],
        vec!["127.0.0.1:1".into(), "127.0.0.1:2".into()],
    ] {
        one.neighbours.site_is(site);
        let near = one.open(&server.url()).await;
        let before = one.neighbours.traffic().from_store;
        read_all(&near, &film, 4 * MB).await;
        assert_eq!(
            one.neighbours.traffic().from_store - before,
            film.len() as u64
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_for_others_stays_within_its_room() {
    let film = film(150 * MB);
    let server = Server::start(film.clone()).unwrap();
    let room = 64 << 20;
    let site: Vec<_> = (0..2).map(|_| Neighbour::with_room(room)).collect();
    introduce(&site, &[]);
    let near = site[0].open(&server.url()).await;
    let mut most = 0;
    for stripe in 0..film.len() / (8 * MB) {
        let range = (stripe * 8 * MB) as u64..((stripe + 1) * 8 * MB) as u64;
        near.read(range).await.unwrap();
        for one in &site {
            most = most.max(recode_node::scratch::used_bytes(
                &one.scratch().join("shelf"),
            ));
        }
    }
    assert!(most <= room, "{most} bytes are kept");
    assert!(most >= room / 4, "nothing is kept: {most} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_was_written_again_is_not_mixed_with_what_it_was() {
    let film = film(20 * MB);
    let server = Server::start(film.clone()).unwrap();
    let site: Vec<_> = (0..2).map(|_| Neighbour::start()).collect();
    introduce(&site, &[]);
    let near = site[0].open(&server.url()).await;
    read_all(&near, &film, 8 * MB).await;
    let other = Bytes::from(vec![7; film.len()]);
    server.change(|behaviour| {
        behaviour.body = other.clone();
        behaviour.etag = Some("\"two\"");
    });
    // Whoever opens it now sees the new one, and only that.
    let now = site[1].open(&server.url()).await;
    let wait = tokio::time::timeout(Duration::from_secs(60), read_all(&now, &other, 8 * MB));
    wait.await.expect("it is read");
    // Whoever had it open reads the old one, or hears that it changed.
    for stripe in 0..2u64 {
        let range = stripe * (8 << 20)..(stripe + 1) * (8 << 20);
        match near.read(range.clone()).await {
            Ok(bytes) => assert!(bytes == film.slice(range.start as usize..range.end as usize)),
            Err(error) => assert!(
                matches!(error, recode_store::Error::Changed { .. }),
                "{error}"
            ),
        }
    }
}
