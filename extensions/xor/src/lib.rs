//! Stores every byte XOR-ed: the smallest content plug-in, and no protection of anything.

use std::sync::Arc;

use hsci_extension::{content, *};

/// The plug-in.
pub struct Xor;

const KEY: u8 = 0x5a;

impl Content for Xor {
    type File = Arc<dyn LowerFile>;

    fn open(&self, lower: Arc<dyn LowerFile>) -> Result<Self::File> {
        Ok(lower)
    }

    fn len(&self, file: &Self::File) -> Result<u64> {
        file.len()
    }

    fn read(&self, file: &Self::File, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let read = file.read_at(offset, buffer)?;
        buffer[..read].iter_mut().for_each(|byte| *byte ^= KEY);
        Ok(read)
    }

    fn write(&self, file: &mut Self::File, call: &Call, offset: u64, data: &[u8]) -> Result<()> {
        content::fill_gap(self, file, call, offset)?;
        file.write_at(offset, &data.iter().map(|byte| byte ^ KEY).collect::<Vec<_>>())
    }

    fn set_len(&self, file: &mut Self::File, call: &Call, len: u64) -> Result<()> {
        content::fill_gap(self, file, call, len)?;
        file.set_len(len)
    }

    fn sync(&self, file: &Cell<Self>, data_only: bool) -> Result<()> {
        file.read().sync(data_only)
    }
}

impl Extension for Xor {
    const NAME: &'static str = "xor";
    const ABOUT: &'static str = "stores every byte XOR-ed; an example, no protection";
    const FORMAT_VERSION: u32 = 1;

    fn start(environment: &Environment) -> Result<Arc<dyn FileSystem>> {
        Ok(ContentFs::new(Arc::new(Self), environment))
    }
}
