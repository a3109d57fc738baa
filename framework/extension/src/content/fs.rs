//! The adapter from the content door to the operation door.

use std::sync::Arc;

use crate::{Content, Environment, FileSystem};

/// Serves the regular files of the layer below through a [`Content`] plug-in.
pub struct ContentFs<C: Content> {
    lower: Arc<dyn FileSystem>,
    content: Arc<C>,
}

impl<C: Content> ContentFs<C> {
    /// The layer of `content` above the environment's lower layer.
    #[must_use]
    pub fn new(content: Arc<C>, environment: &Environment) -> Arc<Self> {
        Arc::new(Self { lower: Arc::clone(&environment.lower), content })
    }

    /// The plug-in.
    #[must_use]
    pub fn content(&self) -> &C {
        &self.content
    }
}

impl<C: Content> FileSystem for ContentFs<C> {
    fn lower(&self) -> &dyn FileSystem {
        &*self.lower
    }
}
