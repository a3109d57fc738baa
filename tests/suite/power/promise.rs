//! What a client was promised.

/// States that something may be in after a power cut: the one that is known to be durable, or one
/// that calls after it led to or were about to.
#[derive(Clone, Debug)]
pub(super) struct Promise<T>(Vec<T>);

impl<T> Promise<T> {
    pub(super) fn new(durable: T) -> Self {
        Self(vec![durable])
    }

    /// Call it before the call that leads to the state.
    pub(super) fn begin(&mut self, state: T) {
        self.0.push(state);
    }

    /// Call it when the last state is known to be durable.
    pub(super) fn keep(&mut self) {
        self.0.drain(..self.0.len() - 1);
    }

    /// Without power cuts.
    pub(super) fn last(&self) -> &T {
        self.0.last().expect("there is a durable state")
    }

    pub(super) fn states(&self) -> &[T] {
        &self.0
    }
}
