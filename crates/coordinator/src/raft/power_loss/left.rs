//! What a disk holds after the power was lost at some moment: everything that was flushed, and of the rest any part.
//!
//! Content and names of files are lost apart. Unflushed writes may be there in pieces, in any order, torn inside a sector,
//! or as length without content, which reads as zeros or as whatever lay there before. Unflushed names may be there in any
//! order. Nothing flushed is touched.

use super::tape::{Change, Content, Event, Inode, Moment};
use crate::raft::CoordinatorId;
use fastrand::Rng;
use std::collections::BTreeMap;

/// What lies between two borders is written together, or torn.
const SECTOR: usize = 512;

/// A folder as the tape has it: durable, and pending in order.
#[derive(Debug)]
pub struct Replayed {
    files: BTreeMap<Inode, File>,
    names: BTreeMap<String, Inode>,
    pending_names: Vec<(Moment, NameChange)>,
}

#[derive(Debug, Default)]
struct File {
    content: Vec<u8>,
    pending: Vec<(Moment, FileChange)>,
}

#[derive(Clone, Debug)]
enum FileChange {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Add(String, Inode),
    /// The file, from, to: a rename is one change of a journal.
    Move(Inode, String, String),
    Remove(String),
}

/// How much of what is pending is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Luck {
    Nothing,
    Everything,
    First,
    Some,
}

impl Luck {
    fn draw(rng: &mut Rng) -> Self {
        [Self::Nothing, Self::Everything, Self::First, Self::Some][rng.usize(..4)]
    }

    /// Which of `count` changes in order are left.
    fn keeps(self, count: usize, rng: &mut Rng) -> Vec<bool> {
        let first = rng.usize(..=count);
        (0..count)
            .map(|i| match self {
                Self::Nothing => false,
                Self::Everything => true,
                Self::First => i < first,
                Self::Some => rng.bool(),
            })
            .collect()
    }
}

impl FileChange {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => content.resize(*len, 0),
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
        }
    }

    /// In pieces that a disk may write or not.
    fn pieces(&self, rng: &mut Rng) -> Vec<Self> {
        let Self::Write { offset, bytes } = self else {
            return vec![self.clone()];
        };
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let border = (offset + at) / SECTOR * SECTOR + SECTOR - offset;
            let end = border.min(bytes.len());
            // A sector is written whole by good disks, and cut short by others.
            let torn = if rng.u8(..8) == 0 {
                rng.usize(at..=end)
            } else {
                end
            };
            pieces.push(Self::Write {
                offset: offset + at,
                bytes: bytes[at..torn].to_vec(),
            });
            at = end;
        }
        pieces
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, Inode>) {
        match self {
            Self::Add(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Move(inode, from, to) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Replayed {
    /// The folder of `voter`, which held `content`, after `events`.
    pub fn new(content: &Content, events: &[Event], voter: CoordinatorId) -> Self {
        let mut this = Self {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            pending_names: Vec::new(),
        };
        for (inode, (name, bytes)) in (0..).zip(content) {
            this.names.insert(name.clone(), inode);
            this.file(inode).content = bytes.clone();
        }
        for (moment, event) in events.iter().enumerate() {
            if let Event::Changed(of, change) = event
                && *of == voter
            {
                this.follow(moment, change);
            }
        }
        this
    }

    fn file(&mut self, inode: Inode) -> &mut File {
        self.files.entry(inode).or_default()
    }

    /// The file that `name` means by now, durable or not.
    fn inode(&self, name: &str) -> Inode {
        let mut names = self.names.clone();
        self.pending_names
            .iter()
            .for_each(|(_, c)| c.apply(&mut names));
        names[name]
    }

    fn follow(&mut self, moment: Moment, change: &Change) {
        match change {
            Change::Create { name, inode } => {
                let change = NameChange::Add(name.clone(), *inode);
                self.pending_names.push((moment, change));
            }
            Change::Rename { from, to } => {
                let change = NameChange::Move(self.inode(from), from.clone(), to.clone());
                self.pending_names.push((moment, change));
            }
            Change::Remove { name } => {
                let change = NameChange::Remove(name.clone());
                self.pending_names.push((moment, change));
            }
            Change::NamesSynced { begun } => {
                let names = &mut self.names;
                self.pending_names.retain(|(at, change)| {
                    if at < begun {
                        change.apply(names);
                    }
                    at >= begun
                });
            }
            Change::Write {
                inode,
                offset,
                bytes,
            } => {
                let (offset, bytes) = (*offset as usize, bytes.clone());
                let change = FileChange::Write { offset, bytes };
                self.file(*inode).pending.push((moment, change));
            }
            Change::SetLen { inode, len } => {
                let change = FileChange::SetLen(*len as usize);
                self.file(*inode).pending.push((moment, change));
            }
            Change::Synced { inode, begun } => {
                let File { content, pending } = self.file(*inode);
                pending.retain(|(at, change)| {
                    if at < begun {
                        change.apply(content);
                    }
                    at >= begun
                });
            }
        }
    }

    /// Whether anything could be lost now.
    pub fn is_pending(&self) -> bool {
        !self.pending_names.is_empty() || self.files.values().any(|f| !f.pending.is_empty())
    }

    /// When only the process dies.
    pub fn whole(&self) -> Content {
        let mut names = self.names.clone();
        self.pending_names
            .iter()
            .for_each(|(_, c)| c.apply(&mut names));
        self.under(&names, |file| {
            let mut content = file.content.clone();
            file.pending.iter().for_each(|(_, c)| c.apply(&mut content));
            content
        })
    }

    /// When the power is lost.
    pub fn after_loss(&self, rng: &mut Rng) -> Content {
        let mut names = self.names.clone();
        let keeps = Luck::draw(rng).keeps(self.pending_names.len(), rng);
        for ((_, change), kept) in self.pending_names.iter().zip(keeps) {
            if kept {
                change.apply(&mut names);
            }
        }
        self.under(&names, |file| file.after_loss(rng))
    }

    fn under(
        &self,
        names: &BTreeMap<String, Inode>,
        mut content: impl FnMut(&File) -> Vec<u8>,
    ) -> Content {
        let nothing = File::default();
        names
            .iter()
            .map(|(name, inode)| {
                let file = self.files.get(inode).unwrap_or(&nothing);
                (name.clone(), content(file))
            })
            .collect()
    }
}

impl File {
    fn after_loss(&self, rng: &mut Rng) -> Vec<u8> {
        let mut content = self.content.clone();
        let pieces: Vec<FileChange> = self
            .pending
            .iter()
            .flat_map(|(_, change)| change.pieces(rng))
            .collect();
        let keeps = Luck::draw(rng).keeps(pieces.len(), rng);
        // The length may be there without the content.
        let (long, filled) = (rng.u8(..4) == 0, rng.bool());
        for (piece, kept) in pieces.iter().zip(keeps) {
            match piece {
                FileChange::Write { offset, bytes } if !kept && long => {
                    let end = offset + bytes.len();
                    let from = content.len();
                    if from < end {
                        content.resize(end, 0);
                        if filled {
                            rng.fill(&mut content[from..]);
                        }
                    }
                }
                _ if kept => piece.apply(&mut content),
                _ => {}
            }
        }
        content
    }
}
