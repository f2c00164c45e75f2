//! A queue that is empty or holds one nearly all the time: the first lies where the queue is, the others elsewhere in memory.

use std::collections::VecDeque;

/// See the module. While there is no first one there are no others.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    first: Option<T>,
    others: VecDeque<T>,
}

impl<T> Queue<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    pub(crate) fn front(&self) -> Option<&T> {
        self.first.as_ref()
    }

    pub(crate) fn back_mut(&mut self) -> Option<&mut T> {
        match self.others.is_empty() {
            true => self.first.as_mut(),
            false => self.others.back_mut(),
        }
    }

    pub(crate) fn push_back(&mut self, item: T) {
        match self.first {
            None => self.first = Some(item),
            Some(_) => self.others.push_back(item),
        }
    }

    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let next = if self.others.is_empty() { None } else { self.others.pop_front() };
        std::mem::replace(&mut self.first, next)
    }

    pub(crate) fn pop_back(&mut self) -> Option<T> {
        match self.others.is_empty() {
            true => self.first.take(),
            false => self.others.pop_back(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.others)
    }

    /// Gives back memory for what is not there.
    pub(crate) fn shrink(&mut self) {
        self.others.shrink_to_fit();
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { first: None, others: VecDeque::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn it_holds_what_a_queue_holds(steps in prop::collection::vec(0u8..5, 0..60)) {
            let (mut queue, mut model) = (Queue::default(), VecDeque::new());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    0 => prop_assert_eq!(queue.pop_front(), model.pop_front()),
                    1 => prop_assert_eq!(queue.pop_back(), model.pop_back()),
                    2 => prop_assert_eq!(queue.back_mut(), model.back_mut()),
                    _ => {
                        queue.push_back(number);
                        model.push_back(number);
                    }
                }
                prop_assert_eq!((queue.len(), queue.is_empty(), queue.front()), (model.len(), model.is_empty(), model.front()));
                prop_assert!(queue.iter().eq(&model));
            }
        }
    }
}
