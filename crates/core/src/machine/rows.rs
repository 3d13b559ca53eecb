//! The [`Task`]s of a Job that somebody has tried, by key: cheap to copy however many there are, as [`super::per_segment`] is
//! and for the same reason.

use super::Task;
use recode_types::TaskKey;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Index;
use std::sync::Arc;

/// Segments whose Tasks share a page.
const PAGE: u32 = 16;

/// Sorted by key.
type Page = Arc<Vec<(TaskKey, Task)>>;

/// See the module. Stored as a map.
#[derive(Clone, Default, PartialEq)]
pub struct Rows {
    /// By the least key that a page could have; none is empty.
    pages: BTreeMap<TaskKey, Page>,
}

/// The least key of the page that a key belongs to. It keeps the order of keys.
fn page_of(key: TaskKey) -> TaskKey {
    let first = |segment: u32| segment / PAGE * PAGE;
    match key {
        TaskKey::Trial { group, segment } => TaskKey::Trial {
            group,
            segment: first(segment),
        },
        TaskKey::Encode { group, segment } => TaskKey::Encode {
            group,
            segment: first(segment),
        },
        TaskKey::Score { segment } => TaskKey::Score {
            segment: first(segment),
        },
        TaskKey::Probe { .. }
        | TaskKey::Audio { .. }
        | TaskKey::Whole { .. }
        | TaskKey::Stitch { .. }
        | TaskKey::Command { .. } => key,
    }
}

fn find(page: &[(TaskKey, Task)], key: TaskKey) -> Result<usize, usize> {
    page.binary_search_by_key(&key, |(known, _)| *known)
}

impl Rows {
    /// The row of a Task.
    pub fn get(&self, key: &TaskKey) -> Option<&Task> {
        let page = self.pages.get(&page_of(*key))?;
        Some(&page[find(page, *key).ok()?].1)
    }

    /// The row of a Task, to be changed.
    pub fn get_mut(&mut self, key: &TaskKey) -> Option<&mut Task> {
        let page = self.pages.get_mut(&page_of(*key))?;
        let at = find(page, *key).ok()?;
        Some(&mut Arc::make_mut(page)[at].1)
    }

    /// The row of a Task, which is made where there is none.
    pub fn row(&mut self, key: TaskKey) -> &mut Task {
        let page = Arc::make_mut(self.pages.entry(page_of(key)).or_default());
        let at = find(page, key).unwrap_or_else(|at| {
            page.insert(at, (key, Task::default()));
            at
        });
        &mut page[at].1
    }

    /// All rows, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&TaskKey, &Task)> {
        let pages = self.pages.values().flat_map(|page| page.iter());
        pages.map(|(key, task)| (key, task))
    }

    /// All rows, sorted by key, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&TaskKey, &mut Task)> {
        let pages = self.pages.values_mut();
        let rows = pages.flat_map(|page| Arc::make_mut(page).iter_mut());
        rows.map(|(key, task)| (&*key, task))
    }

    /// What is kept of each, sorted by key.
    pub fn values(&self) -> impl Iterator<Item = &Task> {
        self.iter().map(|(_, task)| task)
    }

    /// What is kept of each, sorted by key, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Task> {
        self.iter_mut().map(|(_, task)| task)
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.pages.clear();
    }
}

impl Index<&TaskKey> for Rows {
    type Output = Task;

    fn index(&self, key: &TaskKey) -> &Task {
        self.get(key).expect("there is such a row")
    }
}

impl FromIterator<(TaskKey, Task)> for Rows {
    fn from_iter<T: IntoIterator<Item = (TaskKey, Task)>>(rows: T) -> Self {
        let mut all = Self::default();
        for (key, task) in rows {
            *all.row(key) = task;
        }
        all
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let count = self.pages.values().map(|page| page.len()).sum();
        let mut map = serializer.serialize_map(Some(count))?;
        for (key, task) in self.iter() {
            map.serialize_entry(key, task)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Rows;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tasks")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rows, A::Error> {
                let mut rows = Rows::default();
                while let Some((key, task)) = map.next_entry()? {
                    *rows.row(key) = task;
                }
                Ok(rows)
            }
        }
        deserializer.deserialize_map(Map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Vec<TaskKey> {
        let segments = || [0, 1, PAGE - 1, PAGE, PAGE + 1, 100_000].into_iter();
        let mut keys = vec![
            TaskKey::Probe { deep: false },
            TaskKey::Audio { output: 3 },
            TaskKey::Stitch { output: 0 },
            TaskKey::Command { output: 1 },
            TaskKey::Whole {
                output: 1,
                track: 2,
            },
        ];
        for group in [0, 1] {
            keys.extend(segments().map(|segment| TaskKey::Encode { group, segment }));
            keys.extend(segments().map(|segment| TaskKey::Trial { group, segment }));
        }
        keys.extend(segments().map(|segment| TaskKey::Score { segment }));
        keys
    }

    fn filled() -> (Rows, BTreeMap<TaskKey, Task>) {
        let (mut rows, mut known) = (Rows::default(), BTreeMap::new());
        for (number, key) in keys().into_iter().rev().enumerate() {
            assert_eq!(rows.get(&key), None);
            assert!(rows.get_mut(&key).is_none());
            rows.row(key).tries = number as u32;
            known.entry(key).or_insert_with(Task::default).tries = number as u32;
        }
        (rows, known)
    }

    #[test]
    fn it_is_a_sorted_map_and_is_stored_as_one() {
        let (mut rows, known) = filled();
        assert!(rows.iter().eq(known.iter()));
        assert!(known.iter().all(|(key, task)| rows[key] == *task));
        let bytes = postcard::to_stdvec(&rows).expect("it serialises");
        assert_eq!(bytes, postcard::to_stdvec(&known).expect("it serialises"));
        assert_eq!(postcard::from_bytes(&bytes), Ok(rows.clone()));
        assert_eq!(known.into_iter().collect::<Rows>(), rows);
        rows.clear();
        assert_eq!(rows, Rows::default());
    }

    #[test]
    fn a_copy_keeps_what_was_and_shares_what_has_not_changed() {
        let (mut rows, known) = filled();
        let copy = rows.clone();
        let key = TaskKey::Encode {
            group: 1,
            segment: 1,
        };
        rows.get_mut(&key).expect("it is there").tries = 1000;
        assert!(copy.iter().eq(known.iter()));
        assert_eq!(rows[&key].tries, 1000);
        let both = rows.pages.values().zip(copy.pages.values());
        assert_eq!(both.filter(|(a, b)| !Arc::ptr_eq(a, b)).count(), 1);
    }
}
