//! Overrides nothing: the yardstick for the host, and the first example of an extension.

use std::sync::Arc;

use hsci_extension::{Environment, Extension, Layer, Result, Stack};

/// A layer that passes every call on.
pub struct NullFs(Arc<Stack>);

impl Layer for NullFs {
    fn lower(&self) -> &Stack {
        &*self.0
    }
}

impl Extension for NullFs {
    const NAME: &'static str = "nullfs";
    const ABOUT: &'static str = "passes every call on to the lower directory";
    const FORMAT_VERSION: u32 = 0;

    fn start(environment: &Environment) -> Result<Arc<Stack>> {
        Ok(Arc::new(Self(Arc::clone(&environment.lower))))
    }
}
