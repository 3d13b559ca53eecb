//! `nodes`, `drain` and `undrain`: who works for a cluster.

use crate::clock::show_ago;
use crate::fault::{Fault, Kind};
use crate::flags::{Drain, Nodes, OneNode};
use crate::inputs::count;
use crate::remote::{fault, now_ms, say_json, with};
use crate::summary::columns;
use crate::units::show_bytes;
use recode_client::Error;
use recode_types::{NodeHeard, NodeId, NodeStatus};
use std::fmt::Write as _;
use std::iter::once;
use std::time::Duration;

/// How often a Node that is drained is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Lists Nodes, or shows one.
/// # Errors
/// There is none of this number, or nobody answers.
pub fn run(args: &Nodes) -> Result<(), Fault> {
    let json = args.remote.json;
    with(&args.remote, async |client| {
        if let Some(node) = args.node {
            let status = client.node(node).await.map_err(of(node))?;
            match json {
                true => say_json(&status),
                false => crate::say(&shown(&status, now_ms())),
            }
            return Ok(());
        }
        let nodes = client.nodes().await.map_err(fault)?;
        match json {
            true => say_json(&nodes),
            false => crate::say(&table(&nodes)),
        }
        Ok(())
    })
}

/// Gives a Node nothing new.
/// # Errors
/// There is none of this number, or nobody answers.
pub fn drain(args: &Drain) -> Result<(), Fault> {
    let node = args.node.node;
    let status = with(&args.node.remote, async |client| {
        let mut status = client.drain(node).await.map_err(of(node))?;
        while args.wait && status.leases > 0 {
            tokio::time::sleep(LOOK).await;
            status = client.node(node).await.map_err(of(node))?;
            if !status.draining {
                return Err(Fault::new(
                    Kind::Job,
                    format!("{node} was undrained meanwhile, and gets work again"),
                ));
            }
        }
        Ok(status)
    })?;
    tell(&status, args.node.remote.json);
    Ok(())
}

/// Gives a Node work again.
/// # Errors
/// There is none of this number, or nobody answers.
pub fn undrain(args: &OneNode) -> Result<(), Fault> {
    let status = with(&args.remote, async |client| {
        client.undrain(args.node).await.map_err(of(args.node))
    })?;
    tell(&status, args.remote.json);
    Ok(())
}

/// A call about a Node that failed. A coordinator's own words for an unknown one are for the node itself.
fn of(node: NodeId) -> impl FnOnce(Error) -> Fault {
    move |error| match error {
        Error::NotFound(_) => Fault::new(
            Kind::Job,
            format!("{node}: there is no such node; recode-client nodes lists those there are"),
        ),
        other => fault(other),
    }
}

fn tell(status: &NodeStatus, json: bool) {
    if json {
        return say_json(status);
    }
    let node = status.node;
    crate::say(&match (status.draining, status.leases) {
        (false, _) => format!("{node} gets work\n"),
        (true, 0) => format!("{node} gets nothing new and runs nothing: it may go\n"),
        (true, leases) => format!(
            "{node} gets nothing new; {} of it {} on\n",
            count(leases as usize, "attempt"),
            if leases == 1 { "goes" } else { "go" }
        ),
    });
}

/// What a Node does, in one word.
fn state(status: &NodeStatus) -> &'static str {
    let heard = status.heard.as_ref();
    if heard.is_some_and(|heard| heard.leaving) {
        return "leaving";
    }
    let present = heard.is_some_and(|heard| heard.present);
    if present && heard.is_some_and(|heard| heard.suspended.is_some()) {
        return "suspended";
    }
    match (present, status.draining, status.leases) {
        (false, ..) => "silent",
        (true, true, 0) => "drained",
        (true, true, _) => "draining",
        (true, false, 0) => "idle",
        (true, false, _) => "works",
    }
}

fn table(nodes: &[NodeStatus]) -> String {
    if nodes.is_empty() {
        return "there are no nodes: start recode-node on a machine that is to work\n".to_owned();
    }
    let head = ["node", "name", "state", "attempts", "slots", "frames/s"];
    let mut rows = vec![head.map(str::to_owned)];
    for status in nodes {
        let heard = status.heard.as_ref();
        rows.push([
            status.node.to_string(),
            status.name.clone(),
            state(status).to_owned(),
            status.leases.to_string(),
            heard.map_or("?".to_owned(), |heard| heard.hello.heavy_slots.to_string()),
            heard.map_or("?".to_owned(), |heard| speed(heard.speed)),
        ]);
    }
    columns(&rows).join("\n") + "\n"
}

/// Frames per second of one slot; nothing where it is not known yet.
fn speed(per_slot: f64) -> String {
    if per_slot > 0.0 {
        format!("{per_slot:.1}")
    } else {
        "-".to_owned()
    }
}

fn shown(status: &NodeStatus, now_ms: u64) -> String {
    let mut said = format!("{}  {}\n", status.node, state(status));
    let _ = writeln!(said, "name: {}", status.name);
    let registered = show_ago(status.registered_at_ms, now_ms);
    let _ = writeln!(said, "registered: {registered}");
    let _ = writeln!(said, "attempts: {}", status.leases);
    let Some(heard) = &status.heard else {
        return said + "nothing was heard from it since this coordinator leads\n";
    };
    let hello = &heard.hello;
    let _ = writeln!(said, "version: {}", hello.version);
    let _ = writeln!(said, "ffmpeg: {}", hello.ffmpeg);
    let _ = writeln!(
        said,
        "slots: {}, and {} light ones; it would take {} and {} more",
        hello.heavy_slots, hello.light_slots, heard.free_heavy, heard.free_light
    );
    if let Some(suspended) = &heard.suspended {
        let _ = writeln!(
            said,
            "suspended: {} attempts failed one after the other, and others succeed; it is tried again in {} s",
            suspended.failures,
            suspended.left_ms.div_ceil(1000)
        );
    }
    let labels = hello.labels.iter();
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if !labels.is_empty() {
        let _ = writeln!(said, "labels: {}", labels.join(", "));
    }
    if !hello.peer.is_empty() {
        let _ = writeln!(said, "serves its site at: {}", hello.peer);
    }
    if let Some(traffic) = &heard.traffic {
        let _ = writeln!(
            said,
            "bytes: {} from stores, {} from its site, {} to it",
            show_bytes(traffic.from_store),
            show_bytes(traffic.from_peers),
            show_bytes(traffic.to_peers)
        );
    }
    let _ = writeln!(said, "frames/s of a slot: {}", speed(heard.speed));
    said += &measured(heard);
    for attempt in &heard.running {
        let _ = writeln!(
            said,
            "running: {}#{} of {}, {} of {} frames",
            attempt.task.key,
            attempt.attempt,
            attempt.task.job,
            attempt.frames,
            attempt.frames_total
        );
    }
    said
}

/// What the machine is and does, as the node has found out.
fn measured(heard: &NodeHeard) -> String {
    let mut said = String::new();
    if let Some(load) = &heard.load {
        let _ = writeln!(
            said,
            "load: {} % of its cores, {} of memory and {} of disk free",
            load.busy_milli / 10,
            show_bytes(load.memory_free_bytes),
            show_bytes(load.disk_free_bytes)
        );
    }
    let Some(offer) = &heard.offer else {
        return said;
    };
    let machine = &offer.machine;
    let _ = writeln!(
        said,
        "machine: {} cores, {} ({}), {}",
        machine.cores,
        machine.processor,
        once(machine.arch.as_str())
            .chain(machine.instructions.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(" "),
        show_bytes(machine.memory_bytes)
    );
    for card in &machine.cards {
        let _ = writeln!(said, "card: {card}");
    }
    if !offer.complete {
        said += "it is still measuring itself\n";
    }
    for proof in offer.proofs.iter().filter(|p| p.fault.is_none()) {
        let _ = write!(
            said,
            "offers {}: {:.1} dB, {} of memory",
            proof.encoder,
            proof.psnr,
            show_bytes(proof.peak_rss_bytes)
        );
        if let Some(sessions) = proof.sessions {
            let _ = write!(said, ", {} at once", sessions);
        }
        for rate in &proof.rates {
            let _ = write!(
                said,
                "; {}{}{}x{} {:.1} frames/s",
                rate.preset,
                if rate.preset.is_empty() { "" } else { " " },
                rate.size.0,
                rate.size.1,
                rate.frames_per_second
            );
        }
        said += "\n";
    }
    for proof in &offer.proofs {
        if let Some(fault) = &proof.fault {
            let _ = writeln!(said, "does not offer {}: {fault}", proof.encoder);
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::{Machine, NodeHeard, NodeHello, NodeLoad, Offer, Proof, Rate, Suspended};

    #[test]
    fn a_node_says_what_it_offers_and_why_it_does_not_offer_the_rest() {
        let mut offer = Offer {
            complete: true,
            machine: Machine {
                arch: "x86_64".to_owned(),
                processor: "Some Processor".to_owned(),
                cores: 8,
                instructions: vec!["avx2".to_owned()],
                memory_bytes: 16 << 30,
                cards: vec!["renderD128 8086:56a5 i915".to_owned()],
            },
            ..Offer::default()
        };
        offer.put(Proof {
            encoder: "h264_nvenc".to_owned(),
            fault: Some(
                "ffmpeg finds no card for this encoder: Cannot load libcuda.so.1".to_owned(),
            ),
            ..Proof::default()
        });
        offer.put(Proof {
            encoder: "h264_qsv".to_owned(),
            sessions: Some(3),
            psnr: 41.26,
            peak_rss_bytes: 100 << 20,
            rates: vec![Rate {
                preset: "medium".to_owned(),
                rank: 3,
                size: (1280, 720),
                frames_per_second: 312.04,
            }],
            ..Proof::default()
        });
        let heard = NodeHeard {
            offer: Some(offer),
            load: Some(NodeLoad {
                busy_milli: 505,
                memory_free_bytes: 8 << 30,
                disk_free_bytes: 1 << 30,
            }),
            ..NodeHeard::default()
        };
        let bytes = |n: u64| show_bytes(n);
        assert_eq!(
            measured(&heard),
            format!(
                "load: 50 % of its cores, {} of memory and {} of disk free\n\
                 machine: 8 cores, Some Processor (x86_64 avx2), {}\n\
                 card: renderD128 8086:56a5 i915\n\
                 offers h264_qsv: 41.3 dB, {} of memory, 3 at once; medium 1280x720 312.0 frames/s\n\
                 does not offer h264_nvenc: ffmpeg finds no card for this encoder: Cannot load libcuda.so.1\n",
                bytes(8 << 30),
                bytes(1 << 30),
                bytes(16 << 30),
                bytes(100 << 20)
            )
        );
    }

    #[test]
    fn the_table_says_who_works_and_who_may_go() {
        let node = |id, leases, draining, present: Option<bool>| NodeStatus {
            node: NodeId(id),
            name: format!("machine-{id}:77"),
            registered_at_ms: 0,
            draining,
            leases,
            heard: present.map(|present| NodeHeard {
                hello: NodeHello {
                    heavy_slots: 4,
                    ..NodeHello::default()
                },
                present,
                free_heavy: 1,
                speed: if leases > 0 { 31.25 } else { 0.0 },
                ..NodeHeard::default()
            }),
        };
        let mut leaves = node(11, 1, false, Some(false));
        leaves.heard.as_mut().unwrap().leaving = true;
        let mut fails = node(12, 0, false, Some(true));
        fails.heard.as_mut().unwrap().suspended = Some(Suspended {
            failures: 3,
            left_ms: 14_100,
        });
        let said = "suspended: 3 attempts failed one after the other, and others succeed; it is tried again in 15 s";
        assert!(shown(&fails, 0).contains(said));
        let nodes = [
            node(1, 3, false, Some(true)),
            node(2, 0, true, Some(true)),
            node(10, 1, false, None),
            leaves,
            fails,
        ];
        let expected = "\
node              name      state  attempts  slots  frames/s
node_1    machine-1:77      works         3      4      31.2
node_2    machine-2:77    drained         0      4         -
node_10  machine-10:77     silent         1      ?         ?
node_11  machine-11:77    leaving         1      4      31.2
node_12  machine-12:77  suspended         0      4         -
";
        assert_eq!(table(&nodes), expected);
    }
}
