//! `nodes`, `drain` and `undrain`: who works for a cluster.

use crate::clock::show_ago;
use crate::fault::{Fault, Kind};
use crate::flags::{Drain, Nodes, OneNode};
use crate::inputs::count;
use crate::remote::{fault, now_ms, say_json, with};
use crate::summary::columns;
use recode_client::Error;
use recode_types::{NodeId, NodeStatus};
use std::fmt::Write as _;
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
    let labels = hello.labels.iter();
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if !labels.is_empty() {
        let _ = writeln!(said, "labels: {}", labels.join(", "));
    }
    let _ = writeln!(said, "frames/s of a slot: {}", speed(heard.speed));
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

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::{NodeHeard, NodeHello};

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
        let nodes = [
            node(1, 3, false, Some(true)),
            node(2, 0, true, Some(true)),
            node(10, 1, false, None),
            leaves,
        ];
        let expected = "\
node              name    state  attempts  slots  frames/s
node_1    machine-1:77    works         3      4      31.2
node_2    machine-2:77  drained         0      4         -
node_10  machine-10:77   silent         1      ?         ?
node_11  machine-11:77  leaving         1      4      31.2
";
        assert_eq!(table(&nodes), expected);
    }
}
