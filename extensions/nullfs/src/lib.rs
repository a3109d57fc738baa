//! Changes nothing: the yardstick for the host, and the first example of an extension.

use std::sync::Arc;

use hsci_extension::options::{OptionSpec, PROFILE};
use hsci_extension::{Call, Environment, Extension, Ino, Layer, OpenFlags, Opened, Result, Stack};

/// A layer that passes every call on.
pub struct NullFs(Arc<Stack>);

impl Layer for NullFs {
    fn lower(&self) -> &Stack {
        &*self.0
    }

    fn open(&self, _: &Call, _: Ino, _: OpenFlags) -> Result<Opened> {
        Ok(Opened::passed_through())
    }
}

impl Extension for NullFs {
    const NAME: &'static str = "nullfs";
    const ABOUT: &'static str = "passes every call on to the lower directory";
    const FORMAT_VERSION: u32 = 0;

    fn options() -> Vec<OptionSpec> {
        vec![PROFILE]
    }

    fn start(environment: &Environment) -> Result<Arc<Stack>> {
        Ok(Arc::new(Self(Arc::clone(&environment.lower))))
    }
}
