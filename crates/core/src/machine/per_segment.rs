//! One value for each Segment, where there is one: counted, and cheap to copy however many Segments there are.
//!
//! A snapshot begins with a copy of the state while nothing is applied. A copy of this shares its pages until one of them is
//! written to.

use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Index;
use std::sync::Arc;

/// Values of one page: what the first change after a copy has to copy. Segments come back in another order than theirs, so that
/// nearly each first change meets another page.
const PAGE: usize = 16;

type Page<T> = Arc<Vec<Option<T>>>;

/// See the module. Stored as a plain list.
#[derive(Clone)]
pub struct PerSegment<T> {
    pages: Vec<Page<T>>,
    len: usize,
    filled: usize,
}

impl<T> Default for PerSegment<T> {
    fn default() -> Self {
        Self {
            pages: Vec::new(),
            len: 0,
            filled: 0,
        }
    }
}

impl<T: Clone> PerSegment<T> {
    /// Nothing for any of `len` Segments.
    pub fn empty(len: usize) -> Self {
        let page = Arc::new(vec![None; PAGE]);
        let mut pages = vec![page; len / PAGE];
        if !len.is_multiple_of(PAGE) {
            pages.push(Arc::new(vec![None; len % PAGE]));
        }
        Self {
            pages,
            len,
            filled: 0,
        }
    }

    /// Puts a value in place of what was there.
    /// # Panics
    /// There is no such Segment.
    pub fn put(&mut self, at: usize, value: T) -> Option<T> {
        let old = self.place(at).replace(value);
        self.filled += usize::from(old.is_none());
        old
    }

    /// Takes the value of a Segment.
    /// # Panics
    /// There is no such Segment.
    pub fn take(&mut self, at: usize) -> Option<T> {
        let old = self[at].is_some().then(|| self.place(at).take()).flatten();
        self.filled -= usize::from(old.is_some());
        old
    }

    fn place(&mut self, at: usize) -> &mut Option<T> {
        &mut Arc::make_mut(&mut self.pages[at / PAGE])[at % PAGE]
    }
}

impl<T> PerSegment<T> {
    /// Number of Segments.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There are no Segments.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Segments that have a value.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Every Segment has a value.
    pub fn is_full(&self) -> bool {
        self.filled == self.len
    }

    /// The value of a Segment; the outer `None`: there is no such Segment.
    pub fn get(&self, at: usize) -> Option<&Option<T>> {
        self.pages.get(at / PAGE)?.get(at % PAGE)
    }

    /// By Segment.
    pub fn iter(&self) -> impl Iterator<Item = &Option<T>> + Clone {
        self.pages.iter().flat_map(|page| page.iter())
    }

    fn push(&mut self, value: Option<T>) {
        if self.len.is_multiple_of(PAGE) {
            self.pages.push(Arc::new(Vec::with_capacity(PAGE)));
        }
        self.len += 1;
        self.filled += usize::from(value.is_some());
        let page = self.pages.last_mut().expect("it was just begun");
        let page = Arc::get_mut(page).expect("nobody else has seen it");
        page.push(value);
    }
}

impl<T> Index<usize> for PerSegment<T> {
    type Output = Option<T>;

    fn index(&self, at: usize) -> &Option<T> {
        &self.pages[at / PAGE][at % PAGE]
    }
}

impl<'a, T> IntoIterator for &'a PerSegment<T> {
    type Item = &'a Option<T>;
    type IntoIter = std::iter::FlatMap<
        std::slice::Iter<'a, Page<T>>,
        std::slice::Iter<'a, Option<T>>,
        fn(&'a Page<T>) -> std::slice::Iter<'a, Option<T>>,
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.pages.iter().flat_map(|page| page.iter())
    }
}

impl<T: PartialEq> PartialEq for PerSegment<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.filled == other.filled && self.pages == other.pages
    }
}

impl<T: fmt::Debug> fmt::Debug for PerSegment<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<T: Serialize> Serialize for PerSegment<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len))?;
        for value in self {
            list.serialize_element(value)?;
        }
        list.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for PerSegment<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = PerSegment<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut values = PerSegment::default();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(values)
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(len: usize) -> PerSegment<u32> {
        let mut values = PerSegment::empty(len);
        for at in (0..len).step_by(3) {
            values.put(at, at as u32);
        }
        values
    }

    #[test]
    fn values_are_counted_as_they_come_and_go() {
        for len in [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE] {
            let mut values = filled(len);
            assert_eq!(
                (values.len(), values.filled()),
                (len, len.div_ceil(3)),
                "{len}"
            );
            assert_eq!(values.iter().count(), len);
            assert!(values.get(len).is_none() && values.is_empty() == (len == 0));
            for at in 0..len {
                let was = (at % 3 == 0).then_some(at as u32);
                assert_eq!((values[at], values.get(at)), (was, Some(&was)));
                assert_eq!(values.put(at, 7), was);
            }
            assert!(values.is_full());
            assert!((0..len).all(|at| values.take(at) == Some(7) && values.take(at).is_none()));
            assert_eq!(values, PerSegment::empty(len));
        }
    }

    #[test]
    fn a_copy_keeps_what_was_and_shares_what_has_not_changed() {
        let mut values = filled(4 * PAGE);
        let copy = values.clone();
        values.put(1, 100);
        assert_eq!((copy[1], values[1]), (None, Some(100)));
        let shared = values.pages.iter().zip(&copy.pages);
        assert_eq!(shared.filter(|(a, b)| Arc::ptr_eq(a, b)).count(), 3);
        assert_ne!(values, copy);
    }

    #[test]
    fn it_is_stored_as_a_plain_list() {
        let values = filled(PAGE + 5);
        let list: Vec<Option<u32>> = values.iter().copied().collect();
        let bytes = postcard::to_stdvec(&values).expect("it serialises");
        assert_eq!(bytes, postcard::to_stdvec(&list).expect("it serialises"));
        let read: PerSegment<u32> = postcard::from_bytes(&bytes).expect("it reads");
        assert_eq!(read, values);
    }
}
