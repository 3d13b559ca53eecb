//! Who shares bytes with whom: the Nodes of one site, as they were told of each other.
//!
//! Lists, not changes to lists, so that whatever was lost on the way is right after the next one. Pure: [`super::dispatcher`]
//! owns the one instance.

use recode_types::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sites by name, with the Nodes that serve each other there.
pub type Sites = BTreeMap<String, BTreeMap<NodeId, Member>>;

/// A Node that serves its site.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Where the others reach it.
    pub address: String,
    /// Heavy Attempts it runs at once.
    pub slots: u32,
    /// Bytes over the site's link that a second of one of its slots is worth, by what its labels say of prices.
    pub worth: Option<f64>,
}

/// What each Node was told last.
#[derive(Debug, Default)]
pub struct Told {
    /// The same list for all of a site, so that looking whether it has changed costs little.
    lists: BTreeMap<String, Arc<Vec<String>>>,
    nodes: BTreeMap<NodeId, Arc<Vec<String>>>,
}

impl Told {
    /// What Nodes are to be told now, since it is not what they were told before: all Nodes of their site, in one order for all.
    pub fn changed(&mut self, sites: &Sites) -> Vec<(NodeId, Vec<String>)> {
        let mut changed = Vec::new();
        let (mut lists, mut nodes) = (BTreeMap::new(), BTreeMap::new());
        for (site, members) in sites {
            let mut list: Vec<String> = members.values().map(|m| m.address.clone()).collect();
            list.sort();
            list.dedup();
            let before = self.lists.get(site).filter(|before| ***before == list);
            let list = before.map_or_else(|| Arc::new(list), Arc::clone);
            for node in members.keys() {
                let told = self.nodes.get(node);
                if !told.is_some_and(|told| Arc::ptr_eq(told, &list)) {
                    changed.push((*node, list.to_vec()));
                }
                nodes.insert(*node, Arc::clone(&list));
            }
            lists.insert(site.clone(), list);
        }
        (self.lists, self.nodes) = (lists, nodes);
        changed
    }

    /// A Node knows nothing: its exchange is new.
    pub fn forget(&mut self, node: NodeId) {
        self.nodes.remove(&node);
    }
}

/// Where the Nodes around one are reached by it, itself among them; empty: it serves nobody, and nobody serves it.
pub fn around(sites: &Sites, node: NodeId) -> BTreeMap<NodeId, String> {
    let site = sites.values().find(|members| members.contains_key(&node));
    let members = site.into_iter().flatten();
    let addresses = members.map(|(id, member)| (*id, member.address.clone()));
    addresses.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(members: &[(u64, &str, &str)]) -> Sites {
        let mut sites = Sites::new();
        for (node, site, address) in members {
            let member = Member {
                address: (*address).to_owned(),
                slots: 1,
                worth: None,
            };
            let site = sites.entry((*site).to_owned()).or_default();
            site.insert(NodeId(*node), member);
        }
        sites
    }

    #[test]
    fn nodes_hear_of_their_own_site_once_and_again_when_it_changes_or_they_come_back() {
        let mut told = Told::default();
        let two = sites(&[(1, "west", "b:1"), (2, "west", "a:1"), (3, "east", "c:1")]);
        let of =
            |peers: &[&str]| -> Vec<String> { peers.iter().map(|p| (*p).to_owned()).collect() };
        assert_eq!(
            told.changed(&two),
            [
                (NodeId(3), of(&["c:1"])),
                (NodeId(1), of(&["a:1", "b:1"])),
                (NodeId(2), of(&["a:1", "b:1"])),
            ]
        );
        assert_eq!(told.changed(&two), []);
        told.forget(NodeId(2));
        assert_eq!(told.changed(&two), [(NodeId(2), of(&["a:1", "b:1"]))]);
        let one_left = sites(&[(2, "west", "a:1"), (3, "east", "c:1")]);
        assert_eq!(told.changed(&one_left), [(NodeId(2), of(&["a:1"]))]);
        assert_eq!(told.changed(&two).len(), 2, "it is back, and both are told");
    }

    #[test]
    fn around_a_node_is_its_own_site_and_around_one_that_serves_nobody_is_nothing() {
        let sites = sites(&[(1, "east", "a:1"), (2, "west", "b:1"), (3, "east", "c:1")]);
        let named = |node, address: &str| (NodeId(node), address.to_owned());
        let near = BTreeMap::from([named(1, "a:1"), named(3, "c:1")]);
        assert_eq!(around(&sites, NodeId(3)), near);
        assert_eq!(around(&sites, NodeId(4)), BTreeMap::new());
    }
}
