//! A map with a limit in bytes.

use lru::LruCache;

use crate::key::RequestKey;

/// Values under request keys, up to a number of bytes: the least recently used are removed first. A value that is larger than
/// the limit is stored alone.
#[derive(Debug)]
pub(crate) struct SizedLru<V> {
    entries: LruCache<RequestKey, Entry<V>>,
    /// The bytes of all values.
    bytes: usize,
    capacity: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
}

impl<V> SizedLru<V> {
    /// Creates an empty map with a limit in bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            entries: LruCache::unbounded(),
            bytes: 0,
            capacity,
        }
    }

    /// The value of a key, which counts as a use.
    pub(crate) fn get_mut(&mut self, key: &RequestKey) -> Option<&mut V> {
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    /// The key as it was added, which may have another name, and its value.
    pub(super) fn get_key_value(&mut self, key: &RequestKey) -> Option<(&RequestKey, &V)> {
        let (key, entry) = self.entries.get_key_value(key)?;
        Some((key, &entry.value))
    }

    /// Adds a value of this size, in place of an earlier one with its key.
    pub(crate) fn put(&mut self, key: RequestKey, value: V, bytes: usize) {
        self.pop(&key);
        self.bytes += bytes;
        self.entries.put(key, Entry { value, bytes });
        while self.bytes > self.capacity && self.entries.len() > 1 {
            let Some((_, oldest)) = self.entries.pop_lru() else {
                break;
            };
            self.bytes -= oldest.bytes;
        }
    }

    /// Removes the value of a key.
    pub(crate) fn pop(&mut self, key: &RequestKey) -> Option<V> {
        let entry = self.entries.pop(key)?;
        self.bytes -= entry.bytes;
        Some(entry.value)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &RequestKey> {
        self.entries.iter().map(|(key, _)| key)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_that_were_not_used_for_longest_are_removed() {
        let key = |number: usize| RequestKey::from_name(&format!("chat/a-{number:016x}")).unwrap();
        let mut map = SizedLru::new(10);
        for number in [1, 2, 1, 3] {
            map.put(key(number), number, 5);
        }
        let found = [1, 2, 3].map(|number| map.get_mut(&key(number)).is_some());
        assert_eq!((found, map.bytes()), ([true, false, true], 10));
        // A use counts, and a value that is replaced does not.
        map.get_mut(&key(1));
        map.put(key(1), 10, 5);
        map.put(key(4), 4, 5);
        assert_eq!(map.get_mut(&key(1)), Some(&mut 10));
        assert_eq!(map.get_mut(&key(3)), None);
        assert_eq!((map.pop(&key(4)), map.bytes()), (Some(4), 5));
        map.put(key(5), 5, 100);
        assert_eq!((map.len(), map.bytes()), (1, 100));
        map.clear();
        assert_eq!((map.len(), map.bytes(), map.keys().count()), (0, 0, 0));
    }
}
